"""Which runs make a table's rows: order, names, globs, rows with assignments, the method as it is, tuned rows."""

import json
import os

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.plan import plan
from oltr_cli.tables.fill import fill
from oltr_cli.tables.paper import load_table
from oltr_cli.tables.rows import APART, OWN, table_rows
from tests.helpers.fake_runs import as_text, by_key, fake_hash, fake_methods, fake_plan, make_run

PAPER_3A = ["plain", "lifted", "focal", "range", "openmax", "fslwf", "dme"]
TUNED = {"name": "odin", "params": {"tune": True}, "tuned_on_open": True, "report": {}}
UNTUNED = {"name": "energy", "params": {}, "tuned_on_open": False, "report": {}}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty runs folder; methods and a plan that do not depend on the project's."""
    fake_methods(monkeypatch)
    fake_plan(monkeypatch)
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def keys(name: str, patterns: list[str] | None = None, measured: tuple[str, ...] = ()) -> list[str]:
    return [row.key for row in table_rows(load_table(name), measured, patterns)]


# --- which rows there are


def test_the_papers_rows_then_those_beside_then_others_then_ones_own(root):
    rows = table_rows(load_table("3a"), ["dme+energy", "gone", "plain", "range+openmax"])
    assert [row.key for row in rows] == [
        *PAPER_3A,
        *("plain-equal-budget", "crt", "a-old", "dme+energy"),  # later than the paper first; pairs after methods
        *("gone", "mine_100%"),  # a method that is not here any more cannot be told from one's own
    ]
    assert [row.heading for row in rows] == [""] * 7 + [APART] * 4 + [OWN] * 2
    assert [row.named for row in rows] == [True] * 8 + [False] * 5
    assert {row.key for row in rows if not row.known} == {"lifted", "focal", "fslwf", "gone"}


def test_tables_differ_in_which_other_methods_they_show(root):
    assert keys("2", measured=("crt", "plain+odin"))[-1] == "crt"
    assert "mine_100%" not in keys("2", measured=("crt",))
    assert keys("5", measured=("crt", "dme+energy")) == [row.name for row in load_table("5").rows]


def test_a_detectors_own_row_stands_on_its_method(root, monkeypatch):
    row = next(row for row in table_rows(load_table("3a"), []) if row.key == "openmax")
    assert (row.method, row.asked, row.known) == ("range+openmax", "openmax", True)
    without = {name: info for name, info in fake_methods(monkeypatch).items() if name != "range"}
    for where in ("oltr_cli.planning.registry", "oltr_cli.tables.rows"):
        monkeypatch.setattr(f"{where}.list_methods", lambda: without)
    row = next(row for row in table_rows(load_table("3a"), []) if row.key == "openmax")
    assert not row.known, "OpenMax is there, Range loss under it is not"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["dme"], ["dme"]),
        (["dme,plain"], ["plain", "dme"]),  # in the table's order
        (["dme", " plain , focal"], ["plain", "focal", "dme"]),
        (["plain"], ["plain"]),  # the row of that name, not all rows of that method
        (["plain*"], ["plain", "plain-equal-budget"]),
        (["*+openmax"], ["openmax"]),
        (["range+openmax"], ["openmax"]),
        (["openmax"], ["openmax"]),
        (["*-old,c?t"], ["crt", "a-old"]),
        (["mine_100%"], ["mine_100%"]),
        (["dme+energy,crt"], ["crt", "dme+energy"]),  # a known pair that is no row follows
        (["odin"], ["plain+odin"]),
    ],
)
def test_rows_are_picked_by_name_and_glob(root, patterns, expected):
    assert keys("3a", patterns) == expected


def test_picking_in_tables_of_pairs_and_of_one_method(root):
    assert keys("2", ["odin"]) == ["plain+odin-tuned", "dme+odin-tuned", "plain+odin"]
    assert keys("2", ["plain+odin"]) == ["plain+odin"]
    assert keys("2", ["crt"]) == ["crt"]
    assert len(keys("5", ["dme"])) == 7
    assert keys("5", ["attention-*", "calibrator"])[2:] == ["attention-modulated", "calibrator"]
    assert keys("3a", ["*+energy"], ("dme+energy",)) == ["dme+energy"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dmee", "no method 'dmee'; did you mean 'dme'"),
        ("plain-equal-bugdet", "did you mean 'plain-equal-budget'"),
        ("zz*", "no method 'zz.'; known: a-old"),
        ("energy", "energy is a detector; add it to a method"),
        ("dme+enrgy", "no detector 'enrgy'; did you mean 'energy'"),
        ("dme+plain", r"is not METHOD\+DETECTOR"),
    ],
)
def test_a_name_that_fits_nothing_is_refused(root, pattern, message):
    with pytest.raises(UsageProblem, match=message):
        keys("3a", ["dme", pattern])


def test_commands_name_what_makes_the_row(root):
    def commands(name):
        return {key: row.command for key, row in by_key(fill(name, "here", source="here")).items()}

    three = commands("3a")
    assert three["dme"] == "oltr run dme --dataset here"
    assert three["openmax"] == "oltr run openmax --dataset here"
    assert three["plain-equal-budget"] == "oltr run plain --dataset here --set train.epochs=28"
    assert three["lifted"] is None
    assert commands("2")["dme+odin-tuned"] == "oltr run dme --detector odin --dataset here --set detector.tune=true"
    assert commands("5")["concept-selector"] == "oltr run dme --dataset here --set params.calibrator=false"
    own = by_key(fill("3a", "here", source="mine.toml", option="--recipe mine.toml"))
    assert own["plain"].command == "oltr run plain --recipe mine.toml"
    assert not any(commands_none.command for commands_none in fill("3a", "here").rows)


# --- which runs a row shows


def test_rows_with_assignments_are_found_by_their_exact_hash(root):
    make_run(root, "here", "dme", 0, fake_hash("dme"))
    for seed in (0, 1, 2):
        make_run(root, "here", "dme", seed, fake_hash("dme", "params.attention=none"))
        make_run(root, "here", "dme", seed, "ffff000000")
    rows = by_key(fill("5", "here", source="here"))
    assert rows["attention-none"].seeds == (0, 1, 2)
    assert rows["attention-spatial"].status == "missing", "however many other runs of dme there are"
    assert rows["calibrator"].hash == rows["attention-modulated"].hash == fake_hash("dme")
    assert rows["calibrator"].seeds == (0,)
    without_recipe = by_key(fill("5", "here"))
    assert without_recipe["attention-none"].status == "missing", "without a recipe there is no hash to find it by"


def test_a_row_whose_assignments_change_nothing_is_not_missing_beside_the_method_as_it_is(root):
    make_run(root, "here", "dme", 0, "ffff000000")
    rows = by_key(fill("5", "here", source="here"))
    assert rows["calibrator"].hash == rows["attention-modulated"].hash == "ffff000000"
    assert rows["attention-none"].status == "missing"


def test_another_rows_runs_do_not_stand_in_for_the_method_as_it_is(root):
    for seed in (0, 1, 2):
        make_run(root, "here", "plain", seed, fake_hash("plain", "train.epochs=28"))
    for patterns in (None, ["plain"]):
        assert by_key(fill("3a", "here", source="here", methods=patterns))["plain"].status == "missing"
    make_run(root, "here", "plain", 4, "eeee000000")
    filled = fill("3a", "here", source="here")
    rows = by_key(filled)
    assert (rows["plain"].hash, rows["plain"].seeds) == ("eeee000000", (4,))
    assert rows["plain-equal-budget"].seeds == (0, 1, 2)
    assert "Left out" not in " ".join(filled.notes), "the runs of the other row are shown there"


def test_the_current_recipe_is_shown_and_others_are_named(root):
    for seed in (0, 1):
        make_run(root, "here", "dme", seed)
    gone = fill("3a", "here", source="here")
    assert by_key(gone)["dme"].hash == "0123456789"
    assert any(f"no finished run of the current recipe ({fake_hash('dme')})" in note for note in gone.notes)
    make_run(root, "here", "dme", 0, fake_hash("dme"))
    filled = fill("3a", "here", source="here")
    assert (by_key(filled)["dme"].hash, by_key(filled)["dme"].seeds) == (fake_hash("dme"), (0,))
    assert any(
        f"{fake_hash('dme')} is shown, the current recipe. Left out: 0123456789" in note for note in filled.notes
    )
    most = fill("3a", "here")
    assert (by_key(most)["dme"].hash, by_key(most)["dme"].seeds) == ("0123456789", (0, 1))
    assert any(f"most finished seeds. Left out: {fake_hash('dme')}" in note for note in most.notes)


def test_of_recipes_with_equally_many_seeds_the_newest_is_shown(root):
    for number, run_hash in enumerate(("bbbb000000", "aaaa000000", "cccc000000")):
        for seed in (0, 1, 2):
            run = make_run(root, "here", "dme", seed, run_hash)
            age = 100 if run_hash == "aaaa000000" else 1000 + number
            stamp = (run.path / "result.json").stat().st_mtime - age
            os.utime(run.path / "result.json", (stamp, stamp))
    assert by_key(fill("3a", "here"))["dme"].hash == "aaaa000000"


def test_the_ablations_full_rows_are_plain_dme_by_the_real_recipe():
    def run_hash(*sets):
        return plan("dme", "imagenet-lt", list(sets), 0)[-1].link.hash

    rows = {row.name: run_hash(*row.sets) for row in load_table("5").rows}
    assert rows["attention-modulated"] == rows["calibrator"] == run_hash()
    assert len(set(rows.values())) == 6, "all others differ from it and from each other"


# --- rows that open samples tuned


def test_tuned_rows_are_marked_and_compete_among_themselves(root):
    make_run(root, "cifar100", "plain", 0, fake_hash("plain"), skill=1.0)
    make_run(root, "cifar100", "dme", 0, fake_hash("dme"), skill=2.0)
    for base, skill in (("plain", 4.0), ("dme", 6.0)):
        run_hash = fake_hash(f"{base}+odin", "detector.tune=true")
        make_run(root, "cifar100", f"{base}+odin", 0, run_hash, skill, TUNED)
    filled = fill("2", "cifar100", source="cifar100")
    errors = {key: row.cells[0].mean for key, row in by_key(filled).items() if row.status == "measured"}
    assert errors["dme+odin-tuned"] < errors["plain+odin-tuned"] < errors["dme"] < errors["plain"]
    assert filled.best(0) == errors["dme"]
    assert filled.best(0, tuned_on_open=True) == errors["dme+odin-tuned"]
    assert filled.best(2) == by_key(filled)["dme"].cells[2].mean, "the AUROC is better the higher it is"
    facts = {row["key"]: row for row in json.loads(_json(filled))["rows"]}
    assert [facts[key]["cells"][0]["best"] for key in errors] == [False, True, False, True]
    assert [facts[key]["tuned_on_open"] for key in errors] == [False, False, True, True]
    assert by_key(filled)["plain+odin"].status == "missing", "tuned runs are not those of ODIN as it is"
    assert as_text(filled).count("ODIN [26] † ") > 0
    assert "† †" not in as_text(filled)


def test_a_found_run_that_was_tuned_is_marked_too(root):
    make_run(root, "here", "dme+odin", detector=TUNED)
    make_run(root, "here", "dme+energy", detector=UNTUNED)
    filled = fill("3a", "here", source="here")
    assert [row.label for row in filled.rows if "+" in row.spec.key] == ["dme+energy", "dme+odin †"]
    assert any(note.startswith("† Open validation samples") for note in filled.notes)
    assert not any(note.startswith("†") for note in fill("3a", "elsewhere", source="here").notes)


def _json(filled):
    from oltr_cli.tables.formats import render

    return str(render(filled, "json"))
