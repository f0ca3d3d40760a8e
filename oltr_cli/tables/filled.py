"""A filled table: cells, rows and the table, with means and the best of each column."""

from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Literal

from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.folder import Run, runs_root
from oltr_cli.runs.result import DetectorFacts
from oltr_cli.tables.footing import Footing
from oltr_cli.tables.paper import DASH, TUNED, Table, limits
from oltr_cli.tables.rows import RowSpec


@dataclass(frozen=True)
class Cell:
    """One figure of the paper and the results of the seeds, all in the column's unit.

    Attributes:
        paper: as printed; None if the paper has no such cell.
        values: one per seed; a metric that cannot be computed (an empty shot group) is left out.
        quoted: the paper quotes the figure from another paper.
    """

    paper: str | None
    values: tuple[float, ...] = ()
    quoted: bool = False

    @property
    def paper_limits(self) -> tuple[float, float] | None:
        """The lowest and the highest value of the paper's figure, equal unless it is a range; None without a figure."""
        return None if self.paper is None or self.paper == DASH else limits(self.paper)

    @property
    def paper_value(self) -> float | None:
        """The paper's figure if it is a single number."""
        low, high = self.paper_limits or (None, None)
        return low if low == high else None

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1); None with fewer than two seeds."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def delta(self) -> float | None:
        """Measured mean − the paper's figure; to a range, the difference to its nearer end, and 0 inside it."""
        if self.mean is None or self.paper_limits is None:
            return None
        low, high = self.paper_limits
        return self.mean - min(max(self.mean, low), high)


@dataclass(frozen=True)
class FilledRow:
    """A row with its results.

    Status: ``measured``; ``missing``, to be trained by ``command`` if there is a recipe; ``left_out``, as the table's
    notes explain; ``unavailable``, a method that is not in this version.
    """

    spec: RowSpec
    cells: tuple[Cell, ...]
    status: Literal["measured", "missing", "left_out", "unavailable"]
    command: str | None = None
    hash: str | None = None
    seeds: tuple[int, ...] = ()
    epochs: int | None = None  # including the runs it starts from
    footing: Footing = field(default_factory=Footing)
    seconds: float | None = None  # training time of one seed, likewise; the mean over the seeds
    devices: tuple[str, ...] = ()
    threshold_rule: str | None = None
    thresholds: tuple[float, ...] = ()  # τ of each seed
    chosen: tuple[ChosenThreshold, ...] = ()  # the same, with the τ of each class where a rule by class chose it
    detector: DetectorFacts | None = None  # of the first seed
    lists: tuple[str, ...] = ()  # digests of the lists that its runs were made on

    @property
    def method(self) -> str:
        """The canonical name under which its runs are filed."""
        return self.spec.method

    def runs(self, dataset: str) -> list[Run]:
        """The measured runs, by seed."""
        return [Run(runs_root(), dataset, self.method, str(self.hash), seed) for seed in self.seeds]

    @property
    def stages(self) -> str:
        """The epochs of each stage, ``18+6``; "" if they are not known."""
        return "+".join(map(str, self.footing.stages))

    @property
    def tuned_on_open(self) -> bool:
        """Whether open samples chose any of its parameters."""
        return self.spec.tuned_on_open or (self.detector is not None and self.detector.tuned_on_open)

    @property
    def label(self) -> str:
        """With a † if open samples chose parameters."""
        return f"{self.spec.label} {TUNED}" if self.tuned_on_open and TUNED not in self.spec.label else self.spec.label


@dataclass(frozen=True)
class FilledTable:
    """A table with the finished runs of a dataset."""

    name: str
    table: Table
    dataset: str
    shots: str
    rows: tuple[FilledRow, ...]
    notes: tuple[str, ...]
    marks_test_leak: bool

    @property
    def comparable(self) -> bool:
        """Whether the dataset is the paper's, so that a difference to its figures is meaningful."""
        return self.dataset == self.table.dataset

    @property
    def grid(self) -> tuple[FilledRow, ...]:
        """The rows to show: those that the table names, and others that have runs; all if that leaves none."""
        shown = tuple(row for row in self.rows if row.spec.named or row.status in ("measured", "left_out"))
        return shown or self.rows

    def best(self, column: int, tuned_on_open: bool = False) -> float | None:
        """The best measured mean of a column with at least two rows; † rows compete among themselves."""
        means = {
            m for row in self.rows if row.tuned_on_open == tuned_on_open and (m := row.cells[column].mean) is not None
        }
        if len(means) < 2:
            return None
        return max(means) if self.table.columns[column].better == "higher" else min(means)
