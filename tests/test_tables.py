"""The paper's tables, filling them with runs, and every format they are shown in."""

import csv
import io
import json
import math
import os
import re

import numpy as np
import pytest
import typer
from fake_runs import CLASS_COUNTS, make_run
from rich.console import Console
from typer.testing import CliRunner

from oltr_cli import registry
from oltr_cli.commands.compare import compare
from oltr_cli.errors import DataProblem, NotFinite, OltrError, Stopped, UsageProblem
from oltr_cli.evaluate import evaluate_run
from oltr_cli.tables.fill import Cell, FilledRow, FilledTable, fill
from oltr_cli.tables.formats import FORMATS, render, save
from oltr_cli.tables.paper import Column, Row, Table, list_tables, load_table
from oltr_cli.thresholds import ThresholdRule

METRICS = [
    "closed/many",
    "closed/medium",
    "closed/few",
    "closed/overall",
    "open/many",
    "open/medium",
    "open/few",
    "open/f_measure",
]

# Typed from the paper a second time, not copied from the table's file.
TABLE_3A = """
plain    Plain Model [18]  40.9 10.7  0.4 20.9 40.1 10.4  0.4 0.295
lifted   Lifted Loss [33]  35.8 30.4 17.9 30.8 34.8 29.3 17.4 0.374
focal    Focal Loss [27]   36.4 29.9 16   30.5 35.7 29.3 15.6 0.371
range    Range Loss [59]   35.8 30.3 17.6 30.7 34.7 29.4 17.2 0.373
openmax  + OpenMax [2]     -    -    -    -    35.8 30.3 17.6 0.368
fslwf    FSLwF [13]        40.9 22.1 15   28.4 40.8 21.7 14.5 0.347
dme      Ours              43.2 35.1 18.5 35.6 41.9 33.9 17.4 0.474
"""


@pytest.fixture
def methods_at_hand(monkeypatch):
    """plain, dme and one that the paper does not have, whatever methods/ holds."""
    infos = {
        name: registry.MethodInfo(name, "", "", "", None, f"oltr_cli.methods.{name}", name)
        for name in ("plain", "dme", "mine_100%")
    }
    monkeypatch.setattr("oltr_cli.tables.fill.list_methods", lambda: infos)
    monkeypatch.setattr("oltr_cli.registry.list_methods", lambda: infos)
    return infos


@pytest.fixture
def runs(tmp_path, monkeypatch, methods_at_hand):
    """Three seeds of plain, two of dme, one of a method of one's own; an unfinished and a failed run."""
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    for seed in (0, 1, 2):
        make_run(root, "somewhere", "plain", seed, skill=1.5)
    for seed in (0, 1):
        make_run(root, "somewhere", "dme", seed, skill=3.0)
    make_run(root, "somewhere", "mine_100%", 4)
    unfinished = make_run(root, "somewhere", "dme", 7)
    (unfinished.path / "result.json").unlink()
    failed = make_run(root, "somewhere", "dme", 8)
    (failed.path / "result.json").write_text(json.dumps({"status": "failed", "error": "?"}))
    return root


def by_method(filled: FilledTable) -> dict[str, FilledRow]:
    return {row.method: row for row in filled.rows}


def as_text(filled: FilledTable, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(render(filled, "rich"))
    return console.file.getvalue()


# --- the paper's figures


def test_every_cell_of_3a_is_the_papers():
    table = load_table("3a")
    # Method and label end at two spaces, figures at one or more.
    expected = [re.split(r"\s{2,}", line, maxsplit=2) for line in TABLE_3A.strip().splitlines()]
    assert [row.method for row in table.rows] == [method for method, _, _ in expected]
    assert [row.label for row in table.rows] == [label for _, label, _ in expected]
    assert [list(row.figures) for row in table.rows] == [figures.split() for _, _, figures in expected]
    assert [c.metric for c in table.columns] == METRICS
    assert [c.unit for c in table.columns] == ["percent"] * 7 + ["fraction"]
    assert [c.name for c in table.columns[:4]] == ["Many-shot", "Medium-shot", "Few-shot", "Overall"]
    assert [c.bounds for c in table.columns[:4]] == ["> 100", "≤ 100 & > 20", "< 20", ""]
    assert table.dataset == "imagenet-lt"
    assert "3a" in list_tables()


def test_the_papers_cell_differences_are_the_ones_it_claims():
    """Arithmetic on the figures that a slip of the pen would break: ours minus plain, as in the text and Figure 6."""
    rows = {row.method: [math.nan if f == "-" else float(f) for f in row.figures] for row in load_table("3a").rows}
    gain = np.subtract(rows["dme"], rows["plain"])
    np.testing.assert_allclose(gain, [2.3, 24.4, 18.1, 14.7, 1.8, 23.5, 17.0, 0.179], atol=1e-9)
    # OpenMax rejects by Range Loss's features: its open many/medium/few are that row's closed ones.
    assert rows["openmax"][4:7] == rows["range"][0:3]


def test_unknown_table_gets_the_nearest_name():
    with pytest.raises(UsageProblem, match="no table '3aa'; did you mean '3a'"):
        load_table("3aa")


def test_a_table_that_does_not_fit_is_refused():
    column = {"name": "x", "metric": "closed/many", "unit": "percent"}
    head = {"label": "", "caption": "", "source": "", "dataset": "d", "dataset_title": "D", "columns": [column] * 2}
    with pytest.raises(ValueError, match="row 'a' has 1 figures for 2 columns"):
        Table.model_validate({**head, "rows": [{"label": "a", "method": "a", "figures": ["1"]}]})
    with pytest.raises(ValueError, match="could not convert"):
        Table.model_validate({**head, "rows": [{"label": "a", "method": "a", "figures": ["1", "l.5"]}]})


# --- filling


def test_mean_std_and_n_are_those_of_the_runs_results(runs):
    filled = fill("3a", "somewhere")
    for method, seeds in (("plain", (0, 1, 2)), ("dme", (0, 1)), ("mine_100%", (4,))):
        row = by_method(filled)[method]
        results = [json.loads((runs / f"somewhere/{method}/0123456789-s{s}/result.json").read_text()) for s in seeds]
        assert (row.status, row.seeds, row.epochs, row.hash) == ("measured", seeds, 24, "0123456789")
        assert row.seconds == pytest.approx(90 + np.mean(seeds))
        for cell, metric, scale in zip(row.cells, METRICS, [100] * 7 + [1], strict=True):
            values = np.array([r["metrics"][metric] for r in results], np.float64) * scale
            assert cell.n == len(seeds)
            assert cell.mean == pytest.approx(values.mean(), rel=1e-12)
            if len(seeds) > 1:
                assert cell.std == pytest.approx(values.std(ddof=1), rel=1e-9)
            else:
                assert cell.std is None
            if cell.paper_value is not None:
                assert cell.delta == pytest.approx(values.mean() - cell.paper_value)


def test_rows_in_the_papers_order_then_ones_own(runs):
    filled = fill("3a", "somewhere")
    assert [row.method for row in filled.rows] == [
        "plain",
        "lifted",
        "focal",
        "range",
        "openmax",
        "fslwf",
        "dme",
        "mine_100%",
    ]
    assert [row.in_paper for row in filled.rows] == [True] * 7 + [False]
    assert all(cell.paper is None and cell.delta is None for cell in filled.rows[-1].cells)
    assert [row.method for row in fill("3a", "somewhere", methods=["dme"]).rows] == ["dme"]


def test_missing_rows_carry_their_command_and_others_are_not_in_this_version(runs):
    rows = by_method(fill("3a", "elsewhere"))
    assert (rows["dme"].status, rows["dme"].command) == ("missing", "oltr run dme --dataset elsewhere")
    assert (rows["lifted"].status, rows["lifted"].command) == ("unavailable", None)
    assert [cell.paper for cell in rows["dme"].cells][-1] == "0.474"
    own = fill("3a", "elsewhere", recipe_option="--recipe mine.toml")
    assert by_method(own)["plain"].command == "oltr run plain --recipe mine.toml"


def test_dashes_of_the_paper_stay_dashes(runs, methods_at_hand):
    make_run(runs, "somewhere", "openmax")
    row = by_method(fill("3a", "somewhere"))["openmax"]
    assert [cell.paper for cell in row.cells] == ["-"] * 4 + ["35.8", "30.3", "17.6", "0.368"]
    assert [cell.delta is None for cell in row.cells] == [True] * 4 + [False] * 4
    assert all(cell.mean is not None for cell in row.cells)


def test_a_metric_that_cannot_be_computed_is_a_dash(runs):
    for seed in (0, 1):
        path = runs / f"somewhere/dme/0123456789-s{seed}/result.json"
        result = json.loads(path.read_text())
        result["metrics"]["closed/few"] = None
        path.write_text(json.dumps(result))
    filled = fill("3a", "somewhere")
    cell = by_method(filled)["dme"].cells[2]
    assert (cell.n, cell.mean, cell.std, cell.delta) == (0, None, None, None)
    assert "– (18.5)" in render(filled, "md")
    assert "nan" not in "".join(str(render(filled, fmt)) for fmt in FORMATS[1:]).lower().replace("unavailable", "")


def test_the_wanted_recipe_is_shown_and_others_are_named(runs):
    make_run(runs, "somewhere", "dme", 0, run_hash="ffff000000")
    shown = by_method(filled := fill("3a", "somewhere", wanted={"dme": "ffff000000"}))["dme"]
    assert (shown.hash, shown.seeds) == ("ffff000000", (0,))
    assert any("ffff000000, the recipe as it stands. Left out: 0123456789" in note for note in filled.notes)
    most = by_method(filled := fill("3a", "somewhere"))["dme"]
    assert (most.hash, most.seeds) == ("0123456789", (0, 1))
    assert any("most finished seeds. Left out: ffff000000" in note for note in filled.notes)
    gone = by_method(filled := fill("3a", "somewhere", wanted={"dme": "eeee000000"}))["dme"]
    assert gone.hash == "0123456789"
    assert any("no finished run of the recipe as it stands (eeee000000)" in note for note in filled.notes)


def test_of_recipes_with_equally_many_seeds_the_newest_is_shown(runs):
    for number, run_hash in enumerate(("bbbb000000", "aaaa000000", "cccc000000")):
        for seed in (0, 1, 2):
            run = make_run(runs, "somewhere", "dme", seed, run_hash=run_hash)
            age = 100 if run_hash == "aaaa000000" else 1000 + number
            stamp = (run.path / "result.json").stat().st_mtime - age
            os.utime(run.path / "result.json", (stamp, stamp))
    assert by_method(fill("3a", "somewhere"))["dme"].hash == "aaaa000000"


@pytest.mark.parametrize(("rule", "shots"), [("val_open", "paper"), ("oracle_test", "paper"), (None, "code")])
def test_other_rules_and_groups_are_evaluated_from_the_scores(runs, rule, shots):
    parsed = ThresholdRule.parse(rule) if rule else None
    filled = fill("3a", "somewhere", rule=parsed, shots=shots)
    row = by_method(filled)["plain"]
    each = [
        evaluate_run(runs / f"somewhere/plain/0123456789-s{s}", ThresholdRule.parse(rule or "fixed:0.1"), shots)
        for s in (0, 1, 2)
    ]
    for cell, metric, scale in zip(row.cells, METRICS, [100] * 7 + [1], strict=True):
        assert cell.mean == pytest.approx(np.mean([e["metrics"][metric] for e in each]) * scale, rel=1e-12)
    assert row.thresholds == tuple(e["threshold"]["value"] for e in each)
    if shots == "code":
        own = by_method(fill("3a", "somewhere"))["plain"]
        assert row.cells[0].mean != own.cells[0].mean, f"classes of {CLASS_COUNTS} at the borders change their group"
        assert any("≥ 100" in note for note in filled.notes)
    assert filled.marks_test_leak == (rule == "oracle_test")


def test_numbers_that_the_test_set_chose_carry_a_mark(runs):
    oracle = fill("3a", "somewhere", rule=ThresholdRule.parse("oracle_test"))
    mean = by_method(oracle)["plain"].cells[7].mean
    for text in (as_text(oracle), str(render(oracle, "md"))):
        line = next(line for line in text.splitlines() if "Plain Model" in line)
        assert f"{mean:.3f}†" in line
        assert line.count("†") == 4, "the open half alone"
        assert "† τ was chosen on the test set itself" in text
    assert rf"{mean:.3f}$\dagger$" in str(render(oracle, "tex"))
    assert "†" not in as_text(fill("3a", "somewhere"))


def test_runs_without_the_rules_data_are_left_out_with_the_reason(runs):
    for seed in (0, 1, 2):
        (runs / f"somewhere/plain/0123456789-s{seed}/scores/open_val.npz").unlink()
    (runs / "somewhere/dme/0123456789-s1/scores/open_val.npz").unlink()
    filled = fill("3a", "somewhere", rule=ThresholdRule.parse("val_open"))
    rows = by_method(filled)
    assert (rows["plain"].status, rows["plain"].command) == ("left_out", None)
    assert (rows["dme"].status, rows["dme"].seeds) == ("measured", (0,))
    assert any("plain: left out 0123456789-s0, 0123456789-s1, 0123456789-s2" in note for note in filled.notes)
    assert any("dme: left out 0123456789-s1: " in note and "open_val" in note for note in filled.notes)


def test_another_dataset_is_said_plainly(runs):
    assert "The paper's figures are for ImageNet-LT: beside somewhere, only the shape compares." in as_text(
        fill("3a", "somewhere"), 200
    )
    assert "only the shape compares" not in as_text(fill("3a", "imagenet-lt"), 200)
    assert json.loads(str(render(fill("3a", "somewhere"), "json")))["comparable"] is False


def test_unknown_shot_groups_are_refused(runs):
    with pytest.raises(UsageProblem, match="no shot groups 'papers'; did you mean 'paper'"):
        fill("3a", "somewhere", shots="papers")


# --- formats


def small_table(better: str) -> FilledTable:
    column = Column(name="Error_rate", metric="open/detection_error_tpr95", unit="percent", better=better)
    table = Table(
        label="Table 0",
        caption="100% of it & more",
        source="Nobody_{1}",
        dataset="here",
        dataset_title="Here",
        columns=(column,),
        rows=(Row(label="[1] a#b", method="a", figures=("3.25",)), Row(label="~b^", method="b", figures=("-",))),
    )
    rows = (
        FilledRow("[1] a#b", "a", True, (Cell("3.25", (4.0, 6.0)),), "measured", thresholds=(0.1, 0.1), seeds=(0, 1)),
        FilledRow("~b^", "b", True, (Cell("-", (7.0,)),), "measured", thresholds=(0.2,), seeds=(0,)),
        FilledRow("new\\one", "c", False, (Cell(None),), "missing", command="oltr run c --dataset here"),
    )
    return FilledTable("0", table, "here", "paper", rows, ("τ < 1",), False)


@pytest.mark.parametrize(("better", "best", "other"), [("higher", "7.00", "5.00"), ("lower", "5.00", "7.00")])
def test_the_best_measured_is_bold(better, best, other):
    filled = small_table(better)
    markdown, latex = str(render(filled, "md")), str(render(filled, "tex"))
    assert f"**{best}**" in markdown
    assert f"**{other}**" not in markdown
    assert rf"\textbf{{{best}}}" in latex
    assert rf"\textbf{{{other}}}" not in latex
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False)
    console.print(render(filled, "rich"))
    ansi = console.file.getvalue()
    assert re.search(rf"\x1b\[1;32m{best}\x1b", ansi)
    assert not re.search(rf"\x1b\[1;32m{other}\x1b", ansi)


def test_one_seed_shows_no_standard_deviation():
    markdown = str(render(small_table("higher"), "md"))
    assert "5.00 ± 1.41 (3.25)" in markdown  # the sample standard deviation of 4 and 6 is √2
    assert "| ~b^ | **7.00** (–) |" in markdown
    assert as_text(small_table("higher")).count("±") == 2  # the line's label and its one number


def test_latex_is_escaped_and_balanced():
    latex = str(render(small_table("higher"), "tex"))
    assert r"100\% of it \& more" in latex
    assert r"Nobody\_\{1\}" in latex
    assert r"{[}1{]} a\#b" in latex
    assert r"\textasciitilde{}b\textasciicircum{}" in latex
    assert r"new\textbackslash{}one" in latex
    assert r"$\tau$ $<$ 1" in latex
    assert "oltr run c -{}-dataset here" in latex
    body = latex.split("\n", 1)[1]
    assert not set(body) & set("≤≥±–†τ−→")
    opened = re.findall(r"\\(?:begin|end)\{(\w+)\}", latex)
    assert opened == ["table", "tabular", "tabular", "table"]
    unescaped = re.sub(r"\\[{}\\]", "", body)
    assert unescaped.count("{") == unescaped.count("}")
    assert body.count("$") % 2 == 0
    for command in ("toprule", "bottomrule"):
        assert latex.count(rf"\{command}") == 1


def test_every_latex_row_has_a_cell_a_column(runs):
    latex = str(render(fill("3a", "somewhere"), "tex"))
    rows = [line for line in latex.split("\n") if line.endswith(r" \\") and "multicolumn" not in line]
    assert len(rows) == 2 + 2 * 7 + 1
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {9}


def test_markdown_has_the_same_columns_in_every_line(runs):
    lines = str(render(fill("3a", "somewhere"), "md")).splitlines()
    tables = [[line for line in lines if line.startswith("|")]]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in tables[0][:10]} == {11}
    assert len(tables[0]) == (2 + 8) + (2 + 3)
    assert r"| mine\_100% *(not in the paper)* |" in "\n".join(lines)


def test_csv_reads_back_number_by_number(runs):
    filled = fill("3a", "somewhere")
    rows = list(csv.DictReader(io.StringIO(str(render(filled, "csv")))))
    assert [row["method"] for row in rows] == [row.method for row in filled.rows]
    for read, row in zip(rows, filled.rows, strict=True):
        for metric, cell in zip(METRICS, row.cells, strict=True):
            expected = {"paper": cell.paper_value, "measured": cell.mean, "std": cell.std, "n": cell.n}
            got = {key: float(text) if (text := read[f"{key}_{metric}"]) else None for key in expected}
            assert got == expected
    assert rows[0]["seeds"] == "0 1 2"
    assert rows[-1]["in_paper"] == "False"


def test_json_reads_back_complete(runs):
    filled = fill("3a", "somewhere")
    facts = json.loads(str(render(filled, "json")))
    assert [c["metric"] for c in facts["columns"]] == METRICS
    dme = next(row for row in facts["rows"] if row["method"] == "dme")
    cell = by_method(filled)["dme"].cells[7]
    assert dme["cells"][7]["values"] == list(cell.values)
    assert dme["cells"][7]["delta"] == pytest.approx(cell.mean - 0.474)
    assert dme["cells"][7]["best"] == (cell.mean == max(r.cells[7].mean for r in filled.rows if r.cells[7].mean))
    assert (dme["epochs"], dme["threshold_rule"], dme["seeds"]) == (24, "fixed:0.1", [0, 1])
    assert facts["notes"] == list(filled.notes)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_screen_fits_and_shows_paper_beside_measured(runs, width):
    filled = fill("3a", "somewhere")
    text = as_text(filled, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    at = next(i for i, line in enumerate(lines) if line.startswith("Ours"))
    row = by_method(filled)["dme"]
    assert lines[at].split()[1:] == [f"{c.mean:.1f}" for c in row.cells[:7]] + [f"{row.cells[7].mean:.3f}"]
    assert lines[at + 1].split()[4:] == [f"±{c.std:.1f}" for c in row.cells[:7]] + [f"±{row.cells[7].std:.3f}"]
    assert lines[at + 2].split() == ["paper", "43.2", "35.1", "18.5", "35.6", "41.9", "33.9", "17.4", "0.474"]
    # Figures stand below each other: the paper's cells end where the measured ones end.
    ends = [[m.end() for m in re.finditer(r"\S+", lines[i])][-8:] for i in (at, at + 1, at + 2)]
    assert ends[0] == ends[1] == ends[2]


def test_saving_writes_every_format(runs, tmp_path):
    filled = fill("3a", "somewhere")
    paths = save(filled, tmp_path / "results", "id_quantile:0.95")
    assert sorted(path.name for path in paths) == [
        f"table-3a-somewhere-id_quantile-0.95.{suffix}" for suffix in ("csv", "json", "md", "tex")
    ]
    for path in paths:
        assert path.read_text(encoding="utf-8") == str(render(filled, path.suffix[1:])).rstrip("\n") + "\n"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {path.name for path in paths}


# --- the command


def command(*arguments: str):
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nname = "somewhere"\n')
    return path


@pytest.fixture
def current_hashes(monkeypatch):
    """The recipe resolves to the hash of the runs that are there."""
    monkeypatch.setattr("oltr_cli.commands.compare._hashes", lambda methods, _: dict.fromkeys(methods, "0123456789"))


def test_command_shows_the_table_and_the_next_step(runs):
    shown = command("--dataset", "somewhere")
    assert shown.exit_code == 0
    assert "Table 3 (a)" in shown.stdout
    assert "oltr tune threshold --dataset somewhere" in shown.stderr
    assert "next" not in shown.stdout


def test_command_json_is_one_object_and_nothing_else(runs, tmp_path):
    shown = command("--dataset", "somewhere", "--json", "--save", str(tmp_path / "results"))
    assert json.loads(shown.stdout)["dataset"] == "somewhere"
    assert "table-3a-somewhere.md" in shown.stderr.replace("\n", "")
    assert (tmp_path / "results" / "table-3a-somewhere.tex").is_file()


def test_command_makes_what_is_missing_and_names_what_failed(runs, recipe, current_hashes, monkeypatch):
    asked = []

    def run_method(method, source, sets=None, seed=0, *, device=None, **_):
        asked.append((method, seed, source, device))
        if method == "plain" and seed == 1:
            raise NotFinite("cross_entropy is not finite")
        if method == "dme" and seed == 1:
            raise DataProblem("train.txt: no such file")

    monkeypatch.setattr("oltr_cli.pipeline.run_method", run_method)
    shown = command("--recipe", str(recipe), "--run", "--seeds", "2", "--device", "cpu")
    assert asked == [(m, s, str(recipe), "cpu") for s in (0, 1) for m in ("plain", "dme")]
    assert shown.exit_code == 1
    assert "Table 3 (a)" in shown.stdout
    tail = shown.stderr.replace("\n", " ")
    assert "failed: plain, seed 1: cross_entropy is not finite" in tail
    assert "failed: dme, seed 1: train.txt: no such file" in tail


def test_command_stops_at_once_on_a_signal(runs, recipe, current_hashes, monkeypatch):
    asked = []

    def run_method(method, source, **_):
        asked.append(method)
        raise Stopped("stopped, checkpoint written", 15)

    monkeypatch.setattr("oltr_cli.pipeline.run_method", run_method)
    shown = command("--recipe", str(recipe), "--run")
    assert asked == ["plain"]
    assert isinstance(shown.exception, Stopped)
    assert shown.exception.exit_code == 143


def test_command_makes_only_the_rows_asked_for(runs, recipe, current_hashes, monkeypatch):
    asked = []
    monkeypatch.setattr("oltr_cli.pipeline.run_method", lambda method, source, **_: asked.append(method))
    assert command("--recipe", str(recipe), "--run", "-m", "mine_100%", "-m", "dme").exit_code == 0
    assert asked == ["mine_100%", "dme"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "3aa"], "did you mean '3a'"),
        (["--dataset", "somewhre"], "no dataset 'somewhre'; did you mean 'somewhere'"),
        (["--dataset", "somewhere", "--recipe", "x.toml"], "give one of them"),
        (["--method", "dmee"], "no method 'dmee'; did you mean 'dme'"),
        (["--format", "mdd"], "no format 'mdd'; did you mean 'md'"),
        (["--seeds", "3"], "add --run"),
        (["--threshold", "val_opne"], "did you mean 'val_open'"),
        (["--dataset", "somewhere", "--run"], "--run needs a recipe"),
    ],
)
def test_command_refuses_what_does_not_fit(runs, arguments, message):
    shown = command(*arguments)
    assert isinstance(shown.exception, OltrError)
    assert shown.exception.exit_code == 2
    assert message in str(shown.exception)
    assert shown.stdout == ""
