"""What every row of a table states: the epochs of each stage, and whether the backbone was trained."""

import csv
import io
import json

from oltr_cli.tables.fill import fill
from oltr_cli.tables.formats import render
from oltr_cli.tables.text import details
from tests.helpers.fake_runs import edit_result, make_run


def stage(root, method, run_hash, epochs, total, *, start=None, frozen=None):
    run = make_run(root, "somewhere", method, 0, run_hash)
    edit_result(run.path, epochs=epochs, epochs_total=total, starts_from=start.name if start else None)
    if frozen is not None:
        train = f"[train]\nfreeze_backbone = {str(frozen).lower()}\n"
        (run.path / "recipe.toml").write_text(f'method = "{method}"\n{train}')
    return run


def test_every_row_states_its_epochs_and_whether_the_backbone_was_trained(tmp_path, monkeypatch):
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    plain = stage(root, "plain", "1111111111", 18, 18, frozen=False)
    stage(root, "focal", "2222222222", 6, 24, start=plain, frozen=False)
    stage(root, "lifted", "3333333333", 4, 22, start=plain, frozen=True)
    stage(root, "crt", "4444444444", 2, 20, start=plain, frozen=False)  # on saved features, whatever its recipe says
    odin = stage(root, "plain+odin", "5555555555", 0, 18, start=plain)
    edit_result(odin.path, detector={"name": "odin"})
    stage(root, "range", "6666666666", 5, 12)  # the run that it started from is gone
    filled = fill("3a", "somewhere", methods=["plain,focal,lifted,crt,plain+odin,range"])
    heads, facts, _ = details(filled)
    shown = {row[0]: row[heads.index("epochs") : heads.index("epochs") + 2] for row in facts}
    assert heads[heads.index("epochs") + 1] == "backbone"
    wanted = {
        "Plain Model [18]": ("18", "trained"),
        "Focal Loss [27]": ("18+6", "trained"),
        "Lifted Loss [33]": ("18+4", "frozen"),
        "crt": ("18+2", "frozen"),
        "plain+odin": ("18", "trained"),
        "Range Loss [59]": ("7+5", "–"),
    }
    assert shown == wanted
    latex = {line.split(" & ")[0]: line.split(" & ")[-1] for line in str(render(filled, "tex")).splitlines()}
    assert latex["Methods"] == r"Epochs \\"
    assert latex["Lifted Loss"] == r"18+4$\ddagger$ \\"
    assert latex["Focal Loss"] == r"18+6 \\"
    assert r"$\ddagger$ The last stage kept the backbone frozen." in str(render(filled, "tex"))
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(str(render(filled, "csv"))))}
    assert (rows["lifted"]["stages"], rows["lifted"]["backbone"], rows["lifted"]["epochs"]) == ("18+4", "frozen", "22")
    lifted = next(row for row in json.loads(str(render(filled, "json")))["rows"] if row["key"] == "lifted")
    assert (lifted["stages"], lifted["backbone"]) == ([18, 4], "frozen")
    assert "| Lifted Loss \\[33\\] | 3333333333 | 18+4 | frozen |" in str(render(filled, "md"))


def test_what_all_rows_have_in_common_is_said_once(tmp_path, monkeypatch):
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    plain = stage(root, "plain", "1111111111", 18, 18, frozen=False)
    stage(root, "focal", "2222222222", 6, 24, start=plain, frozen=False)
    heads, _, same = details(fill("3a", "somewhere", methods=["plain,focal"]))
    assert "backbone" not in heads
    assert "backbone trained" in same
