"""The catalogue of metrics: all that is computed is in it, and all that shows metrics follows it."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from oltr_cli.base.display import Display
from oltr_cli.errors import UsageProblem
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.catalogue import METRICS, Metric, metric
from oltr_cli.protocol.evaluate import Evaluation, evaluate_run
from oltr_cli.protocol.screen import table
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.tables import paper
from oltr_cli.tables.fill import fill
from oltr_cli.tables.formats import render
from tests.helpers.fake_runs import CLASS_COUNTS, as_text, edit_result, fake_methods, make_run, random_scores

ROOT = Path(__file__).parents[2]
NEW = Metric("open/regret", "regret of the reader", "fraction", better="lower", needs_threshold=True)
TABLE = """
label = "Table 9"
caption = "Regret"
source = "nobody"
dataset = "somewhere"
dataset_title = "Somewhere"
columns = [{name = "Regret", metric = "open/regret"}]
rows = [{label = "Plain", method = "plain", figures = ["-"]}, {label = "Ours", method = "dme", figures = ["-"]}]
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of plain and dme whose results hold a metric that the catalogue has just got."""
    fake_methods(monkeypatch)
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paper, "_files", lambda: {"9": TABLE})
    monkeypatch.setitem(METRICS, NEW.name, NEW)
    made = {}
    for method, value in (("plain", 0.75), ("dme", 0.25)):
        run = made[method] = make_run(tmp_path / "runs", "somewhere", method)
        edit_result(run.path, metrics={**run.result().metrics, NEW.name: value})
    return made


@pytest.mark.parametrize("with_open", [True, False])
def test_all_that_is_computed_is_in_it_and_nothing_else(with_open):
    rng = np.random.default_rng(0)
    known, open_ = random_scores(rng, 60, False, 2.0), random_scores(rng, 30, True, 2.0)
    assert set(every_metric(known, open_ if with_open else None, CLASS_COUNTS, 0.3)) == set(METRICS)


def test_what_needs_a_threshold_changes_with_it_and_nothing_else():
    rng = np.random.default_rng(1)
    known, open_ = random_scores(rng, 300, False, 2.0), random_scores(rng, 150, True, 2.0)
    low, high = (every_metric(known, open_, CLASS_COUNTS, tau) for tau in (0.3, 0.7))
    assert {name for name in METRICS if low[name] != high[name]} == {
        name for name, one in METRICS.items() if one.needs_threshold
    }


def test_lower_is_better_where_perfect_scores_are_lower():
    rng = np.random.default_rng(2)
    poor = every_metric(random_scores(rng, 300, False, 1.0), random_scores(rng, 150, True, 1.0), CLASS_COUNTS, 0.5)
    known, open_ = random_scores(rng, 300, False, 50.0), random_scores(rng, 150, True, 50.0)
    good = every_metric(known, open_, CLASS_COUNTS, 0.9)
    for name, one in METRICS.items():
        if name.startswith(("closed/ece", "closed/brier")):  # these need logits
            continue
        assert (good[name] > poor[name]) == (one.better == "higher"), name


def test_every_metric_is_defined_in_the_docs():
    named = set()
    for line in (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(("| `closed/", "| `open/")):
            first, *others = re.findall(r"`([^`]+)`", line.split("|")[1])
            named |= {first, *(f"{first.partition('/')[0]}/{other}" for other in others)}
    assert named == set(METRICS)


def test_it_is_read_without_numpy_and_torch():
    code = "import sys, oltr_cli.protocol.catalogue; print({'numpy', 'torch', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_name_without_an_entry_is_a_rate():
    assert metric("identification/glasses") == Metric("identification/glasses", "identification/glasses")
    assert metric("identification/glasses").shown(0.256) == "25.6"


def test_a_new_metric_is_in_the_evaluation(runs):
    console = Console(width=100, file=io.StringIO(), highlight=False)
    console.print(table(Evaluation.of(runs["plain"].result())))
    assert re.search(r"regret of the reader +│ +0\.750", console.file.getvalue())
    console.print(table(evaluate_run(runs["plain"].path, ThresholdRule.parse("oracle_test"))))
    assert re.search(r"regret of the reader +│ +–†", console.file.getvalue())


def test_a_new_metric_can_be_a_column_in_its_unit_and_direction(runs):
    filled = fill("9", "somewhere")
    assert [row.cells[0].mean for row in filled.rows] == [0.75, 0.25]
    assert filled.best(0) == 0.25
    assert re.search(r"Ours +0\.250", as_text(filled))
    assert '"unit": "fraction", "better": "lower"' in " ".join(str(render(filled, "json")).split())


def test_a_column_of_no_metric_is_refused(runs, monkeypatch):
    monkeypatch.setattr(paper, "_files", lambda: {"9": TABLE.replace("open/regret", "open/regrets")})
    with pytest.raises(UsageProblem, match=r"no metric 'open/regrets'; did you mean 'open/regret'"):
        paper.load_table("9")


def test_a_new_metric_is_in_the_report_with_the_lowest_marked(runs, monkeypatch):
    from oltr_cli.report.choose import choose
    from oltr_cli.report.content import collect
    from oltr_cli.report.page import render as render_page

    monkeypatch.setattr("oltr_cli.report.content.paper_figures", lambda *_: [])
    made = collect(choose("somewhere"), [], Display(quiet=True))
    assert NEW.name in made.metrics
    page = render_page(made)
    assert "open/regret, fraction" in page
    best = re.findall(r'<td[^>]*class="[^"]*best[^"]*"[^>]*>(0\.250|0\.750)', page)
    assert best == ["0.250"]
