"""A request for a figure, and the finished runs that it needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.protocol.metrics import Threshold
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.tables.fill import DAMAGED, EARLIER_BUILD, fill
from oltr_cli.tables.filled import FilledRow
from oltr_cli.tables.paper import DEFAULT_TABLE, load_table
from oltr_cli.tables.rows import RowSpec, table_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oltr_cli.protocol.thresholds import ThresholdRule


@dataclass(frozen=True)
class Request:
    """What to draw, as given on the command line.

    Attributes:
        source: the recipe of the runs; None: there is none, and no run can be made.
        option: the option that gives a command that recipe.
        methods: instead of the figure's own; patterns as ``oltr compare --methods`` takes them.
        seed: draw only the runs of this seed.
        rule: how τ is chosen from the saved scores; None takes the tuned one of runs that have one, else their own.
        images: names of test images to show, or parts that match only one.
        alphas: power values of Figure 8 (a).
        lot: seed of all random choices.
    """

    dataset: str
    source: str | None
    option: str
    methods: tuple[str, ...] = ()
    seed: int | None = None
    rule: "ThresholdRule | None" = None
    shots: str = "paper"
    images: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    lot: int = 0
    device: str | None = None
    display: Display = field(default_factory=Display)


Table = tuple[list[str], list[list[Any]]]  # names of the columns, rows


class Drawable(Protocol):
    """The numbers of a figure."""

    def table(self) -> Table:
        """All that is drawn, as columns and rows."""


D = TypeVar("D", bound=Drawable)


@dataclass(frozen=True)
class Gathered(Generic[D]):
    """The numbers of a figure, the runs they come from, and notes about them."""

    data: D
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FigureSpec(Generic[D]):
    """One figure of the paper.

    Attributes:
        rows: the runs it needs, as rows of a table.
        gather: its numbers; raises MissingRuns where runs are missing.
        draw: its picture.
    """

    name: str
    title: str
    rows: Callable[[Request], list[RowSpec]]
    gather: Callable[[Request], Gathered[D]]
    draw: "Callable[[D], Figure]"


class MissingRuns(UsageProblem):
    """Runs that a figure needs are not finished; the message holds the commands that make them."""

    def __init__(self, commands: Sequence[str], dataset: str) -> None:
        known = [command for command in dict.fromkeys(commands) if command]
        if not known:
            super().__init__(f"no finished runs on {dataset} to draw, and no recipe to make them; give --recipe FILE")
        elif len(known) == 1:
            super().__init__(f"needs a run that is not finished; add --run, or: {known[0]}")
        else:
            lines = "\n".join(f"  {command}" for command in known)
            super().__init__(f"needs {len(known)} runs that are not finished; add --run, or:\n{lines}")


@dataclass(frozen=True)
class Found:
    """A row with its finished runs, one per seed, and the τ of each."""

    row: FilledRow
    runs: tuple[Run, ...]
    thresholds: tuple[Threshold, ...]

    @property
    def label(self) -> str:
        return self.row.spec.key


def method_rows(request: Request, default: Sequence[str], least: int = 1) -> list[RowSpec]:
    """The rows of the requested methods, in the order given.

    Raises:
        UsageProblem: a name that matches no method, or fewer than ``least`` methods.
    """
    table, finished = load_table(DEFAULT_TABLE), finished_runs(request.dataset)
    asked = [name for text in request.methods for name in text.split(",") if name.strip()]
    rows = [row for name in asked or default for row in table_rows(table, finished, [name])]
    rows = list({row.key: row for row in rows}.values())
    if len(rows) < least:
        raise UsageProblem(f"--methods: compares {least} methods; name {least}")
    return rows


def find(
    request: Request,
    rows: Sequence[RowSpec],
    table: str = DEFAULT_TABLE,
    usable: Callable[[Run], object] = lambda run: None,
) -> tuple[list[Found], tuple[str, ...]]:
    """The finished runs of each row, and notes on which recipe they follow.

    Args:
        usable: raises if a run's dataset does not fit the figure. Called before runs are reported as missing: making
            them would not help.

    Raises:
        MissingRuns: rows without a finished run (of the wanted seed).
        DataProblem: a run that cannot be evaluated by the rule.
    """
    filled = fill(
        table,
        request.dataset,
        rule=request.rule,
        shots=request.shots,
        methods=[row.key for row in rows],
        source=request.source,
        option=request.option,
    )
    by_key = {row.spec.key: row for row in filled.rows}
    about = (*(f"{row.key}: " for row in rows), DAMAGED, EARLIER_BUILD)
    notes = tuple(note for note in filled.notes if note.startswith(about))
    found: list[Found] = []
    missing: list[str] = []
    for spec in rows:
        row = by_key[spec.key]
        if row.status == "left_out":
            # A note on which recipe's runs are shown may come before it.
            why = next((note for note in notes if note.startswith(f"{spec.key}: left out ")), f"{spec.key}: unusable")
            raise DataProblem(why)
        if row.status == "unavailable":
            raise UsageProblem(f"{spec.key} is not in this version")
        runs = zip(row.runs(request.dataset), (one.tau for one in row.chosen), strict=True)
        if picked := [(run, tau) for run, tau in runs if request.seed in (None, run.seed)]:
            found.append(Found(row, tuple(run for run, _ in picked), tuple(tau for _, tau in picked)))
        else:
            missing.append(_command(spec, request))
    if missing:
        if found:
            usable(found[0].runs[0])
        raise MissingRuns(missing, request.dataset)
    if len({tuple(run.seed for run in one.runs) for one in found}) > 1:
        seeds = (f"{one.label} {', '.join(str(run.seed) for run in one.runs)}" for one in found)
        notes += (f"seeds differ: {'; '.join(seeds)}",)
    return found, notes


def missing_rows(request: Request, rows: Sequence[RowSpec]) -> MissingRuns:
    """The error that names the commands of all of ``rows``."""
    return MissingRuns([_command(row, request) for row in rows], request.dataset)


def _command(spec: RowSpec, request: Request) -> str:
    if request.source is None:
        return ""
    try:
        command = spec.command(request.source, request.option) or ""
    except OltrError:
        return ""
    return f"{command} --seed {request.seed}" if command and request.seed else command
