"""The paper's tables as files: every figure of every table, typed from the paper a second time.

The table of published figures is in test_published.py.
"""

import math
import re

import numpy as np
import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.tables.paper import NO_CELL, Beside, Column, Table, laid_out, list_tables, load_table

NAMES = ["Many-shot", "Medium-shot", "Few-shot"]
SHOTS = ["> 100", "≤ 100 & > 20", "< 20", ""]
OPEN_AND_CLOSED = [
    *("closed/many", "closed/medium", "closed/few", "closed/overall"),
    *("open/many", "open/medium", "open/few", "open/f_measure"),
]

# Table → key of the row, its label, its figures. Fields end at two spaces; "." stands for a cell that is not there.
PAPER = {
    "2": """
plain              Softmax Pred. [19]  43.6 . .
dme                Ours                29.9 . .
plain+odin-tuned   ODIN [26] †         24.6 . .
dme+odin-tuned     Ours †              18.0 . .
""",
    "3a": """
plain    Plain Model [18]  40.9 10.7  0.4 20.9 40.1 10.4  0.4 0.295
lifted   Lifted Loss [33]  35.8 30.4 17.9 30.8 34.8 29.3 17.4 0.374
focal    Focal Loss [27]   36.4 29.9 16   30.5 35.7 29.3 15.6 0.371
range    Range Loss [59]   35.8 30.3 17.6 30.7 34.7 29.4 17.2 0.373
openmax  + OpenMax [2]     -    -    -    -    35.8 30.3 17.6 0.368
fslwf    FSLwF [13]        40.9 22.1 15   28.4 40.8 21.7 14.5 0.347
dme      Ours              43.2 35.1 18.5 35.6 41.9 33.9 17.4 0.474
""",
    "3b": """
plain    Plain Model [18]  45.9 22.4 0.36 27.2 45.9 22.4 0.36 0.366
lifted   Lifted Loss [33]  41.1 35.4 24   35.2 41   35.2 23.8 0.459
focal    Focal Loss [27]   41.1 34.8 22.4 34.6 41   34.8 22.3 0.453
range    Range Loss [59]   41.1 35.4 23.2 35.1 41   35.3 23.1 0.457
openmax  + OpenMax [2]     -    -    -    -    41.1 35.4 23.2 0.458
fslwf    FSLwF [13]        43.9 29.9 29.5 34.9 38.1 19.5 14.8 0.375
dme      Ours              44.7 37   25.3 35.9 44.6 36.8 25.2 0.464
""",
    "4a": """
plain  Plain Model [18]  80.64 71.98 84.60 77.72 73.88 78.30 78.70
range  Range Loss [59]   78.60 71.36 83.14 77.40 72.17 - -
dme    Ours              80.82 72.44 87.60 79.50 74.51 79.04 79.08
""",
    "4b": """
plain             Plain Model [18]     48.0
cost-sensitive    Cost-Sensitive [22]  52.4
model-regression  Model Reg. [54]      54.7
metamodelnet      MetaModelNet [55]    57.3
dme               Ours                 58.7
""",
    "5": """
attention-none       none                 . . . . .
attention-spatial    spatial              . . . . .
attention-modulated  modulated (ours)     . . . . .
direct-feature       direct feature       . . . . .
memory-feature       + memory feature     . . . . .
concept-selector     + concept selector   . . . . .
calibrator           + calibrator (ours)  . . . . .
""",
}


@pytest.mark.parametrize("name", PAPER)
def test_every_cell_is_the_papers(name):
    expected = [re.split(r"\s{2,}", line, maxsplit=2) for line in PAPER[name].strip().splitlines()]
    rows = load_table(name).rows
    assert [row.name for row in rows] == [key for key, _, _ in expected]
    assert [row.label for row in rows] == [label for _, label, _ in expected]
    assert [row.figures for row in rows] == [
        tuple("" if figure == "." else figure for figure in figures.split()) for *_, figures in expected
    ]


def test_the_tables_there_are():
    assert list(list_tables()) == [*PAPER, "cifar100-lt"]
    assert {name: load_table(name).dataset for name in PAPER} == {
        "2": "cifar100",
        "3a": "imagenet-lt",
        "3b": "places-lt",
        "4a": "ms1m-lt",
        "4b": "sun-lt",
        "5": "imagenet-lt",
    }
    assert load_table("2").dataset_title == "CIFAR-100 + TinyImageNet (resized)"


@pytest.mark.parametrize("name", ["3a", "3b"])
def test_columns_of_table_3(name):
    columns = load_table(name).columns
    assert [c.metric for c in columns] == OPEN_AND_CLOSED
    assert [c.unit for c in columns] == ["percent"] * 7 + ["fraction"]
    assert [c.name for c in columns] == [*NAMES, "Overall", *NAMES, "F-measure"]
    assert [c.bounds for c in columns] == SHOTS * 2
    assert [c.group for c in columns] == ["closed-set setting"] * 4 + ["open-set setting"] * 4


def test_columns_of_the_others():
    def of(name):
        return [(c.bounds, c.name, c.metric) for c in load_table(name).columns]

    assert of("4a") == [
        ("≥ 5", "Many-shot", "identification/many"),
        ("< 5 & ≥ 2", "Few-shot", "identification/few"),
        ("< 2 & ≥ 1", "One-shot", "identification/one"),
        ("= 0", "Zero-shot", "identification/zero"),
        ("", "Full Test", "identification/full"),
        ("", "Male", "identification/male"),
        ("", "Female", "identification/female"),
    ]
    assert of("4b") == [("", "Acc.", "closed/overall")]
    metrics = ["open/many", "open/medium", "open/few", "open/overall", "open/f_measure"]
    assert [metric for *_, metric in of("5")] == metrics
    error, lowest, auroc = load_table("2").columns
    assert (error.name, error.metric, error.better) == ("Error (%)", "open/detection_error_tpr95", "lower")
    assert (lowest.metric, lowest.better) == ("open/detection_error_min", "lower")
    assert (auroc.metric, auroc.better, auroc.unit) == ("open/auroc", "higher", "fraction")


def test_marks_groups_and_rows_beside():
    two = load_table("2")
    assert [row.name for row in (*two.rows, *two.beside) if row.tuned_on_open] == ["plain+odin-tuned", "dme+odin-tuned"]
    assert all(row.sets == ("detector.tune=true",) for row in two.rows if row.tuned_on_open)
    assert [row.method for row in two.beside] == [
        f"plain+{d}" for d in ("odin", "maxlogit", "energy", "knn", "mahalanobis", "vim", "openmax")
    ]
    assert [row.name for row in load_table("4b").rows if row.quoted] == ["model-regression", "metamodelnet"]
    assert not any(row.quoted for name in PAPER if name != "4b" for row in load_table(name).rows)
    for name in ("3a", "3b", "4b"):
        budget = Beside(label="plain, equal budget", method="plain", key="plain-equal-budget", equal_budget=True)
        assert load_table(name).beside == (budget,)
        assert load_table(name).other_methods == "all"
    five = load_table("5").rows
    assert [row.group for row in five] == ["attention (Fig. 5 a, c)"] * 3 + ["meta-embedding (Fig. 5 b)"] * 4
    assert {row.method for row in five} == {"dme"}


def test_the_ablation_takes_part_after_part_away():
    rows = {row.name: row.sets for row in load_table("5").rows}
    assert [rows[f"attention-{kind}"] for kind in ("none", "spatial", "modulated")] == [
        ("params.attention=none",),
        ("params.attention=spatial",),
        ("params.attention=modulated",),
    ]
    off = [f"params.{part}=false" for part in ("memory", "concept_selector", "calibrator")]
    steps = ("direct-feature", "memory-feature", "concept-selector", "calibrator")
    assert [list(rows[step]) for step in steps] == [off, off[1:], off[2:], []]


def test_the_papers_cell_differences_are_the_ones_it_claims():
    """Arithmetic on the figures that a slip of the pen would break, in the paper's own words."""

    def figures(table):
        return {r.name: [math.nan if f == "-" else float(f) for f in r.figures] for r in load_table(table).rows}

    rows = figures("3a")
    gain = np.subtract(rows["dme"], rows["plain"])
    np.testing.assert_allclose(gain, [2.3, 24.4, 18.1, 14.7, 1.8, 23.5, 17.0, 0.179], atol=1e-9)
    for table in ("3a", "3b"):
        # OpenMax rejects by Range Loss's features: its open many/medium/few are that row's closed ones.
        assert figures(table)["openmax"][4:7] == figures(table)["range"][0:3]
    face = figures("4a")
    gains = np.subtract(face["dme"], face["plain"])
    np.testing.assert_allclose(gains[[2, 3]], [3.0, 1.78], atol=1e-9)  # "3.0% gains" and "1.8% gains"
    assert figures("4b")["dme"][0] - figures("4b")["metamodelnet"][0] == pytest.approx(1.4)  # over the prior best


def test_unknown_table_gets_the_nearest_name():
    with pytest.raises(UsageProblem, match="no table '3aa'; did you mean '3a'"):
        load_table("3aa")


def test_a_table_that_does_not_fit_is_refused():
    column = {"name": "x", "metric": "closed/many"}
    head = {"label": "", "caption": "", "source": "", "dataset": "d", "dataset_title": "D", "columns": [column] * 2}
    row = {"label": "a", "method": "a", "figures": ["1", ""]}
    assert Table.model_validate({**head, "rows": [row]}).rows[0].figures == ("1", "")
    with pytest.raises(ValueError, match="row 'a' has 1 figures for 2 columns"):
        Table.model_validate({**head, "rows": [{**row, "figures": ["1"]}]})
    with pytest.raises(ValueError, match="could not convert"):
        Table.model_validate({**head, "rows": [{**row, "figures": ["1", "l.5"]}]})
    with pytest.raises(ValueError, match="several rows are named 'a'; give each a key"):
        Table.model_validate({**head, "rows": [row], "beside": [{"label": "b", "method": "a"}]})
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Table.model_validate({**head, "rows": [{**row, "figure": []}]})


def test_decimals_are_the_papers_or_the_units():
    def digits(table):
        return [load_table(table).decimals(i) for i in range(len(load_table(table).columns))]

    assert digits("3a") == digits("3b") == [1] * 7 + [3]
    assert digits("4a") == [2] * 7
    assert digits("2") == [1, 1, 3]
    assert digits("5") == [1, 1, 1, 1, 3]
    assert Column(name="x", metric="open/auroc").scale == 1.0


def test_detection_columns_keep_the_rows_and_have_no_figures_of_the_paper():
    table = load_table("3a")
    shown = laid_out(table, "detection")
    assert [row.name for row in shown.rows] == [row.name for row in table.rows]
    assert {figure for row in shown.rows for figure in row.figures} == {NO_CELL}
    assert [column.metric for column in shown.columns if "auroc" in column.metric] == [
        "open/auroc",
        "open/auroc_many",
        "open/auroc_medium",
        "open/auroc_few",
    ]
    assert laid_out(table, "paper") is table
    with pytest.raises(UsageProblem, match="--columns detect: choose one of paper, detection, open-sets; did you mean"):
        laid_out(table, "detect")
