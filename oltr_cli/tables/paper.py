"""The paper's tables as printed, and one of published figures, from the TOML files in recipes/tables/.

The columns of a file name a metric, its rows a method and the paper's figures, cell by cell as printed. Rows
``[[beside]]`` have no figures: they are shown next to the paper's. ``oltr_cli.tables.rows`` finds the run of a row,
``oltr_cli.tables.fill`` adds measured numbers to the figures, ``oltr_cli.tables.formats`` makes it text.
"""

import math
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from statistics import mode
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from oltr_cli.base.files import parse_toml
from oltr_cli.errors import UsageProblem, nearest, several
from oltr_cli.protocol.catalogue import IDENTIFICATION, METRICS, metric
from oltr_cli.protocol.open_sets import is_open_set

DEFAULT_TABLE = "3a"
DETECTORS = "detectors"  # every detector on finished runs; not of the paper
DASH = "-"  # of the paper: not reported
NO_CELL = ""  # the paper's table has no such cell
TUNED, QUOTED = "†", "§"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """One column: its place in the heading, and the metric it shows."""

    name: str
    metric: str
    group: str = ""
    bounds: str = ""

    @property
    def unit(self) -> Literal["percent", "fraction"]:
        return metric(self.metric).unit

    @property
    def better(self) -> Literal["higher", "lower"]:
        return metric(self.metric).better

    @property
    def scale(self) -> float:
        """Factor from a saved metric to the column's unit."""
        return metric(self.metric).scale


class Beside(_Part):
    """A row without figures of the paper.

    Attributes:
        method: trained method, ``method+detector``, or a detector that has its own row.
        key: names the row in ``--methods`` and JSON, unique in the table; default ``method``.
        sets: the row is that method with these assignments, as ``--set`` takes them.
        equal_budget: ... and with as many epochs as the recipe's two stages have together.
        tuned_on_open: open samples chose its parameters (†); it competes only with other such rows.
        group: heading of the row.
    """

    label: str
    method: str
    key: str = ""
    sets: tuple[str, ...] = ()
    equal_budget: bool = False
    tuned_on_open: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        """``key``, or its default."""
        return self.key or self.method


class Row(Beside):
    """One of the paper's rows.

    Attributes:
        figures: as printed, one per column; see ``limits`` for ranges.
        quoted: quoted from another paper.
        source: where a quoted figure was read; ``epochs``: how long that network was trained, "" if it is not known.
    """

    figures: tuple[str, ...]
    quoted: bool = False
    source: str = ""
    epochs: str = ""


def limits(figure: str) -> tuple[float, float]:
    """The lowest and the highest value that a figure stands for: ``35.6``, a range ``39.1–40.3``, or ``> 52``.

    Raises:
        ValueError: it is none of these.
    """
    if figure.startswith("> "):
        return float(figure[2:]), math.inf
    low, dash, high = figure.partition("–")
    if dash and float(low) >= float(high):
        raise ValueError(f"'{figure}' is no range: the lower figure comes first")
    return float(low), float(high if dash else low)


class Table(_Part):
    """One of the paper's tables.

    Attributes:
        recipe: the recipe that its figures were made with, if that does not have the name of the dataset.
        other_methods: which methods that no row names follow: all trained ones, those with finished runs, or none.
    """

    label: str
    caption: str
    source: str
    dataset: str
    dataset_title: str
    recipe: str = ""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    beside: tuple[Beside, ...] = ()
    other_methods: Literal["all", "finished", "none"] = "none"
    footnotes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Table":
        for column in self.columns:
            if column.metric not in METRICS and not column.metric.startswith(IDENTIFICATION):
                raise ValueError(
                    f"column '{column.name}': no metric '{column.metric}'{nearest(column.metric, METRICS)}"
                )
        for row in self.rows:
            if len(row.figures) != len(self.columns):
                raise ValueError(f"row '{row.label}' has {len(row.figures)} figures for {len(self.columns)} columns")
            for figure in row.figures:
                if figure not in (DASH, NO_CELL):
                    limits(figure)
        names = Counter(row.name for row in (*self.rows, *self.beside))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"several rows are named '{twice[0]}'; give each a key")
        return self

    @property
    def default_recipe(self) -> str:
        """Name of the recipe whose runs fill the table if none is asked for."""
        return self.recipe or self.dataset

    @property
    def of_papers(self) -> bool:
        """Whether each row has a source of its own, rather than all of them one paper."""
        return any(row.source for row in self.rows)

    @property
    def whose(self) -> str:
        """Whose the printed figures are, in a sentence."""
        return "the published" if self.of_papers else "the paper's"

    def decimals(self, column: int) -> int:
        """Digits after the decimal point: as in most figures of the column, or the metric's own."""
        printed = [figure for row in self.rows if (figure := row.figures[column]) not in (DASH, NO_CELL)]
        if not printed:
            return metric(self.columns[column].metric).digits
        return mode(len(figure.rpartition("–")[2].partition(".")[2]) for figure in printed)


_AGAINST, _SHOTS = "AUROC against open", ("many", "medium", "few")
DETECTION = (
    Column(name="Overall", metric="closed/overall", group="accuracy"),
    Column(name="Few-shot", metric="closed/few", group="accuracy"),
    Column(name="F-measure", metric="open/f_measure", group="open set"),
    Column(name="FPR95", metric="open/fpr95", group="open set"),
    Column(name="all", metric="open/auroc", group=_AGAINST),
    *(Column(name=shots, metric=f"open/auroc_{shots}", group=_AGAINST) for shots in _SHOTS),
    *(Column(name=shots, metric=f"open/rejected_{shots}", group="rejected at τ") for shots in _SHOTS),
    Column(name="ECE", metric="closed/ece", group="calibration"),
)
LAYOUTS = ("paper", "detection", "open-sets")


def laid_out(table: Table, columns: str, measured: Iterable[str] = ()) -> Table:
    """The table with its own columns ("paper"), or others.

    "detection" shows rare or unknown, and calibration; "open-sets" each open set on its own.

    The paper has figures for its own columns only.

    Args:
        measured: names of the metrics that its runs have, which say what further open sets there are.
    Raises:
        UsageProblem: no such layout.
    """
    if columns not in LAYOUTS:
        raise UsageProblem(f"--columns {columns}: choose one of {', '.join(LAYOUTS)}{nearest(columns, LAYOUTS)}")
    if columns == "paper":
        return table
    wanted = DETECTION if columns == "detection" else open_set_columns(measured)
    rows = tuple(row.model_copy(update={"figures": (NO_CELL,) * len(wanted)}) for row in table.rows)
    return table.model_copy(update={"columns": wanted, "rows": rows, "footnotes": ()})


def open_set_columns(measured: Iterable[str]) -> tuple[Column, ...]:
    """Columns of open.txt and of each further open set."""
    sets = sorted({part for name in measured if is_open_set(part := name.partition("/")[0])})
    shown = {"AUROC": "auroc", "few": "auroc_few", "FPR95": "fpr95", "F-measure": "f_measure"}
    return (
        Column(name="Overall", metric="closed/overall", group="accuracy"),
        *(
            Column(name=title, metric=f"{split}/{name}", group=split)
            for split in ("open", *sets)
            for title, name in shown.items()
        ),
    )


def list_tables() -> dict[str, str]:
    """Name → caption of the available tables of the paper."""
    tables = {name: load_table(name) for name in sorted(_files())}
    return {name: f"{table.label}: {table.caption}" for name, table in tables.items()}


def tables_of(dataset: str, metrics: Iterable[str] = (), recipe: str | None = None) -> list[str]:
    """The tables to fill with the runs of a dataset: the paper's own for it, otherwise those of the same kind.

    Args:
        recipe: that the runs follow; a table made with a recipe of its own is for that recipe only.
        metrics: names of what was measured on it, which decide whether it is an identification dataset.
    """
    tables = {name: load_table(name) for name in sorted(_files())}
    own = [name for name, table in tables.items() if table.dataset == dataset and table.recipe in ("", recipe)]
    if own:
        return own
    if any(name.startswith(IDENTIFICATION) for name in metrics):
        return [n for n, table in tables.items() if any(c.metric.startswith(IDENTIFICATION) for c in table.columns)]
    return [DEFAULT_TABLE]


def load_table(name: str) -> Table:
    """The table of that name, for example ``3a``.

    Raises:
        UsageProblem: there is none, or its file is inconsistent.
    """
    files = _files()
    if name not in files:
        raise UsageProblem(f"no table '{name}'{nearest(name, files)}")
    try:
        return Table.model_validate(parse_toml(files[name]))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'table'}: {e['msg']}" for e in error.errors()]
        raise UsageProblem(several(f"table {name}", problems)) from None
    except ValueError as error:
        raise UsageProblem(f"table {name}: is not TOML: {error}") from None


def _files() -> dict[str, str]:
    """Name → text of the table files."""
    folder = resources.files("oltr_cli.recipes.tables")
    return {
        f.name.removesuffix(".toml"): f.read_text(encoding="utf-8")
        for f in folder.iterdir()
        if f.name.endswith(".toml")
    }
