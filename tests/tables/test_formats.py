"""Every format that a filled table is shown and saved in."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.tables.fill import fill
from oltr_cli.tables.filled import Cell, FilledRow, FilledTable
from oltr_cli.tables.formats import render, save
from oltr_cli.tables.paper import Column, Row, Table, list_tables, load_table
from oltr_cli.tables.rows import OWN, RowSpec
from oltr_cli.tables.screen import _SPACES, _Facts
from oltr_cli.tables.text import details, difference, named, others, remarks
from tests.helpers.fake_runs import as_text, by_key, fake_hash, fake_methods, fake_plan, make_run

METRICS = [column.metric for column in load_table("3a").columns]
OPENMAX = {"name": "openmax", "params": {}, "tuned_on_open": False, "report": {"fit": "libmr"}}

LATEX = shutil.which("pdflatex") or shutil.which("tectonic") or ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three seeds of plain, two of dme, a pair, a method of one's own, on two datasets; not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    for seed in (0, 1, 2):
        make_run(root, "somewhere", "plain", seed, skill=1.5)
    for seed in (0, 1):
        make_run(root, "somewhere", "dme", seed, skill=3.0)
    make_run(root, "somewhere", "range+openmax", 0, detector=OPENMAX)
    make_run(root, "somewhere", "mine_100%", 4)
    make_run(root, "imagenet-lt", "dme", 0, fake_hash("dme"))
    return root


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """A copy of ``finished`` as the runs folder, methods and recipes that do not depend on the project's."""
    fake_methods(monkeypatch)
    fake_plan(monkeypatch)
    monkeypatch.setenv("OLTR_RUNS", str(shutil.copytree(finished, tmp_path / "runs")))
    return tmp_path / "runs"


def small_table(metric: str) -> FilledTable:
    column = Column(name="Error_rate", metric=metric)
    table = Table(
        label="Table 0",
        caption="100% of it & more",
        source="Nobody_{1}",
        dataset="here",
        dataset_title="Here",
        columns=(column,),
        rows=(Row(label="[1] a#b", method="a", figures=("3.25",)), Row(label="~b^", method="b", figures=("-",))),
    )
    a, b, c = (
        RowSpec(key, label, key, key, (), "" if key != "c" else OWN, in_paper=key != "c", named=True)
        for key, label in (("a", "[1] a#b"), ("b", "~b^"), ("c", "new\\one"))
    )
    rows = (
        FilledRow(a, (Cell("3.25", (4.0, 6.0)),), "measured", thresholds=(0.1, 0.1), seeds=(0, 1)),
        FilledRow(b, (Cell("-", (7.0,)),), "measured", thresholds=(0.2,), seeds=(0,)),
        FilledRow(c, (Cell(None),), "missing", command="oltr run c --dataset here"),
    )
    return FilledTable("0", table, "here", "paper", rows, ("τ < 1",), False)


@pytest.mark.parametrize(("metric", "best", "other"), [("closed/few", "7.00", "5.00"), ("open/fpr95", "5.00", "7.00")])
def test_the_best_measured_is_bold(metric, best, other):
    filled = small_table(metric)
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
    markdown = str(render(small_table("closed/few"), "md"))
    assert "5.00 ± 1.41 (3.25, Δ +1.75)" in markdown  # the sample standard deviation of 4 and 6 is √2
    assert "| ~b^ | **7.00** (–) |" in markdown
    assert as_text(small_table("closed/few")).count("±") == 2  # the line's label and its one number


def without_comments(latex: str) -> str:
    return "\n".join(line for line in latex.splitlines() if not line.startswith("%"))


def test_latex_is_escaped_and_balanced():
    latex = str(render(small_table("closed/few"), "tex"))
    assert r"100\% of it \& more" in latex
    assert r"Nobody\_\{1\}" in latex
    assert r"{[}1{]} a\#b" in latex
    assert r"\textasciitilde{}b\textasciicircum{}" in latex
    assert r"new\textbackslash{}one" in latex
    assert r"$\tau$ $<$ 1" in latex
    assert "% new\\one: missing; to train it: oltr run c --dataset here" in latex.splitlines()
    latex = without_comments(latex)
    body = latex.split("\n", 1)[1]
    assert not set(body) & set("≤≥±–†τ−→")
    opened = re.findall(r"\\(?:begin|end)\{([\w*]+)\}", latex)
    assert opened == ["table*", "tabular", "tabular", "table*"]
    unescaped = re.sub(r"\\[{}\\]", "", body)
    assert unescaped.count("{") == unescaped.count("}")
    assert body.count("$") % 2 == 0
    for command in ("toprule", "bottomrule"):
        assert latex.count(rf"\{command}") == 1


@pytest.mark.parametrize("name", list_tables())
def test_every_latex_row_has_a_cell_a_column(runs, name):
    filled = fill(name, "somewhere")
    latex = without_comments(str(render(filled, "tex")))
    lines = [line for line in latex.split("\n") if line.endswith(r" \\") and "multicolumn" not in line]
    columns = filled.table.columns
    bounds = any(c.bounds for c in columns) + any("&" in c.bounds for c in columns)
    paper = [row for row in filled.grid if any(cell.paper for cell in row.cells)]
    assert len(lines) == 1 + bounds + len(filled.grid) + len(paper)
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {2 + len(columns)}
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    # Each heading between rules; no rule of its own above the first row.
    headings = re.findall(r"multicolumn\{\d+\}\{l\}\{\\emph\{(.*?)\}\}", latex)
    assert len(headings) == len(set(headings)) == len({row.spec.heading for row in filled.grid} - {""})
    assert "\\midrule\n\\midrule" not in latex


@pytest.mark.parametrize("name", list_tables())
def test_markdown_has_the_same_columns_in_every_line(runs, name):
    filled = fill(name, "somewhere", source="somewhere")
    lines = str(render(filled, "md")).splitlines()
    start = lines.index("")
    end = lines.index("", start + 1)
    table = [line for line in lines[start + 1 : end] if not line.startswith("| *")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines[start + 1 : end]} == {3 + len(filled.table.columns)}
    assert len(table) == 2 + len(filled.grid)
    if name == "3a":
        assert r"| *your own methods* |" in "\n".join(lines)
        assert r"| mine\_100% |" in "\n".join(lines)


def test_rows_that_nobody_named_stand_in_one_sentence_until_they_have_runs(runs):
    filled = fill("3a", "somewhere", source="somewhere")
    assert [row.spec.key for row in filled.grid][-2:] == ["plain-equal-budget", "mine_100%"]
    sentence = "Not run yet (oltr run METHOD --dataset somewhere): crt, a-old."
    for text in (as_text(filled, 200), str(render(filled, "md"))):
        assert sentence in text
    make_run(runs, "somewhere", "crt")
    text = as_text(fill("3a", "somewhere", source="somewhere"), 200)
    assert "oltr run a-old --dataset somewhere" in text, "a single one has its line like any other"
    assert "METHOD" not in text


def test_details_say_once_what_is_the_same_in_all_rows(runs):
    heads, facts, same = details(fill("3a", "somewhere"))
    assert heads == ("row", "recipe", "seeds", "epochs", "detector", "training")
    assert same == "All rows: threshold fixed:0.1; τ 0.1; on cpu."
    openmax = next(row for row in facts if row[0] == "+ OpenMax [2]")
    assert openmax[2:] == ("0", "24", "openmax (libmr)", "1:30 per seed")
    heads, facts, same = details(fill("3a", "somewhere", methods=["dme"]))
    assert heads == ("row", "recipe", "seeds", "epochs", "threshold", "τ", "training", "on")
    assert (len(facts), same) == (1, "")
    assert details(fill("3a", "elsewhere")) == ((), [], "")


def test_differences_are_shown_on_the_papers_dataset_alone(runs):
    same, other = fill("3a", "imagenet-lt"), fill("3a", "somewhere")
    cell = by_key(same)["dme"].cells[7]
    delta = f"{cell.mean - 0.474:+.3f}".replace("-", "−")
    lines = as_text(same).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Ours"))
    assert lines[at + 2].split()[0] == "Δ"
    assert lines[at + 2].split()[-1] == delta
    assert f"(0.474, Δ {delta})" in str(render(same, "md"))
    assert "Δ" not in as_text(other) + str(render(other, "md"))
    facts = json.loads(str(render(other, "json")))["rows"]
    assert next(row for row in facts if row["key"] == "dme")["cells"][7]["delta"] is not None


@pytest.mark.parametrize(("mean", "text"), [(0.4737, "0.000"), (0.4743, "0.000"), (0.473, "−0.001"), (0.475, "+0.001")])
def test_a_difference_that_rounds_to_nothing_has_no_sign(runs, mean, text):
    assert difference(fill("3a", "imagenet-lt"), Cell("0.474", (mean,)), 7) == text


def test_a_table_without_figures_has_no_lines_of_the_paper(runs):
    filled = fill("5", "imagenet-lt", source="imagenet-lt")
    assert "paper" not in "".join(line for line in as_text(filled).splitlines() if not line.startswith("Figure"))
    for fmt in ("md", "tex"):
        assert "the paper's" not in str(render(filled, fmt))
    assert "attention (Fig. 5 a, c)" in as_text(filled)
    assert by_key(filled)["calibrator"].cells[0].paper is None


def test_csv_reads_back_number_by_number(runs):
    filled = fill("3a", "somewhere")
    rows = list(csv.DictReader(io.StringIO(str(render(filled, "csv")))))
    assert [row["key"] for row in rows] == [row.spec.key for row in filled.rows]
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
    cell = by_key(filled)["dme"].cells[7]
    assert dme["cells"][7]["values"] == list(cell.values)
    assert dme["cells"][7]["delta"] == pytest.approx(cell.mean - 0.474)
    assert dme["cells"][7]["best"] == (cell.mean == max(r.cells[7].mean for r in filled.rows if r.cells[7].mean))
    assert (dme["epochs"], dme["threshold_rule"], dme["seeds"]) == (24, "fixed:0.1", [0, 1])
    assert facts["notes"] == list(filled.notes)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_screen_shows_paper_beside_measured(runs, width):
    filled = fill("3a", "somewhere")
    lines = as_text(filled, width).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Ours"))
    row = by_key(filled)["dme"]
    assert lines[at].split()[1:] == [f"{c.mean:.1f}" for c in row.cells[:7]] + [f"{row.cells[7].mean:.3f}"]
    assert lines[at + 1].split()[4:] == [f"±{c.std:.1f}" for c in row.cells[:7]] + [f"±{row.cells[7].std:.3f}"]
    assert lines[at + 2].split() == ["paper", "43.2", "35.1", "18.5", "35.6", "41.9", "33.9", "17.4", "0.474"]
    # Figures stand below each other: the paper's cells end where the measured ones end.
    ends = [[m.end() for m in re.finditer(r"\S+", lines[i])][-8:] for i in (at, at + 1, at + 2)]
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("name", list_tables())
@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_table_fits_the_screen(runs, name, width):
    filled = fill(name, "somewhere", source="somewhere")
    lines = as_text(filled, width).splitlines()
    assert max(map(len, lines)) <= width
    rules = [line for line in lines if set(line) == {"─"}]
    assert len({len(rule) for rule in rules}) == 1
    grid = lines[lines.index(rules[0]) : len(lines) - lines[::-1].index(rules[0])]
    assert max(map(len, grid)) == len(rules[0]), "groups' names are no longer than their columns"
    for row in filled.grid:
        assert any(line.startswith(row.label) for line in lines), f"the whole label of {row.label}"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_columns_that_do_not_fit_are_below(runs, width):
    filled = fill("3a", "somewhere", source="somewhere", columns="detection")
    found = []
    for console in (300, width):
        lines = as_text(filled, console).splitlines()
        assert max(map(len, lines)) <= console
        grid = lines[: next(i for i, line in enumerate(lines) if line.startswith("row "))]
        found.append([line[len("Plain Model [18]") :].split() for line in grid if line.startswith("Plain Model")])
    [whole], parts = found
    assert len(whole) == len(filled.table.columns)
    assert [number for part in parts for number in part] == whole, "a column is cut off"
    assert (len(parts) > 1) == (width < 100)


def test_how_rows_were_measured_is_broken_at_signs_alone(runs):
    make_run(runs, "somewhere", "label-smoothing", 0)
    make_run(runs, "somewhere", "label-smoothing", 1)
    filled = fill("3a", "somewhere", source="somewhere", rule=ThresholdRule.parse("id_quantile:0.95"))
    lines = as_text(filled, 80).splitlines()
    assert max(map(len, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("row ") and "recipe" in line)
    block = lines[start : lines.index("", start)]
    words = {word for line in block for word in line.split()}
    assert words >= {"label-", "smoothing", "0123456789"} or words >= {"label-smoothing", "0123456789"}
    command = "oltr run range --dataset somewhere --set train.freeze_backbone=true"
    console = Console(width=40, file=io.StringIO())
    console.print(_Facts(("missing", "to train it"), [("Range Loss", command)], _SPACES))
    assert " ".join(console.file.getvalue().split("\n", 1)[1].split()) == f"Range Loss {command}"


def test_saving_writes_every_format(runs, tmp_path):
    filled = fill("3a", "somewhere")
    paths = save(filled, tmp_path / "results", "id_quantile:0.95")
    assert sorted(path.name for path in paths) == [
        f"table-3a-somewhere-id_quantile-0.95.{suffix}" for suffix in ("csv", "json", "md", "tex")
    ]
    for path in paths:
        assert path.read_text(encoding="utf-8") == str(render(filled, path.suffix[1:])).rstrip("\n") + "\n"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {path.name for path in paths}


def test_a_single_seed_is_not_a_number_of_seeds():
    assert (named("seeds", "0"), named("seeds", "0, 1"), named("epochs", "24")) == ("seed 0", "seeds 0, 1", "epochs 24")


def test_latex_prints_what_is_for_readers_alone(runs):
    latex = str(render(fill("3a", "somewhere", source="somewhere"), "tex"))
    printed = without_comments(latex)
    assert "to train it" in latex
    assert "oltr run" not in printed
    assert "Plain Model &" in printed
    assert "-shot" not in printed


def test_latex_prints_below_the_table_only_what_a_mark_means(runs):
    filled = fill("2", "somewhere", source="somewhere")
    latex = str(render(filled, "tex"))
    below = without_comments(latex).partition(r"\end{tabular}")[2].splitlines()
    assert [line.partition("{\\footnotesize ")[2][:11] for line in below if "footnotesize" in line] == ['$\\dagger$ "']
    hidden = sum(line.startswith(r"% \par\smallskip{\footnotesize ") for line in latex.splitlines())
    assert hidden == len([remark for remark in remarks(filled) if remark != others(filled)]) - 1 > 1


def test_a_note_of_several_lines_stays_a_comment(runs):
    filled = replace(fill("3a", "somewhere"), notes=("one\ntwo\n\nthree",))
    assert r"% \par\smallskip{\footnotesize one two three\par}" in str(render(filled, "tex")).splitlines()


@pytest.mark.skipif(not LATEX, reason="neither pdflatex nor tectonic is here")
@pytest.mark.parametrize("name", list_tables())
def test_latex_fits_over_two_columns(runs, name, tmp_path):
    table = str(render(fill(name, "somewhere", source="somewhere"), "tex"))
    document = (
        r"\documentclass[twocolumn]{article}\usepackage{booktabs}\begin{document}" + f"\n{table}" + r"\end{document}"
    )
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if LATEX.endswith("pdflatex") else ["--keep-logs"]
    done = subprocess.run([LATEX, *options, "table.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    log = (tmp_path / "table.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
