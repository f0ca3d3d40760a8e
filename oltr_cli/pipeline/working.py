"""Making the runs of a graph in this process, next to others that make runs of the same ones.

A process takes a run that is not finished, whose parent is, and that nobody works on. If other processes work on all
that is left, it waits, and takes over a run whose process dies.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from filelock import Timeout

from oltr_cli.base.display import Display
from oltr_cli.base.machine import in_group, is_main_process
from oltr_cli.errors import BeingMade, DataProblem, OltrError, Stopped, released, with_type
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.opened import Opened
from oltr_cli.pipeline.together import all_are_here, of_first
from oltr_cli.planning.graph import Graph, Node
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RESULT, RunFailure

Failures = list[tuple[str, OltrError]]  # what was asked for, as "dme, seed 0", and why it is not there
LOOK = 1.0  # seconds between looks at runs that others make


@dataclass(frozen=True)
class How:
    """How a command makes its runs; nothing of it changes a result, see ``make_runs``."""

    device: str | None = None
    workers: int | None = None
    track: bool = True
    compiled: bool = False


def work_through(graph: Graph, how: How, display: Display) -> Failures:
    """Make every run of the graph that can be made; what cannot is returned, and the rest still runs.

    Raises:
        Stopped: a signal came.
    """
    return _Work(graph, how, display).done()


@dataclass
class _Work:
    graph: Graph
    how: How
    display: Display
    failed: dict[Run, OltrError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = list(self.graph.nodes.values())
        self.total = len(self.left)
        self.opened = Opened(self.how.device, self.display)
        self.before = {run: _ended(run) for run in self.graph.nodes}
        if in_group():
            self.display.quiet = self.display.quiet or not is_main_process()
            self.opened.join_group()

    def done(self) -> Failures:
        announced: set[Run] = set()
        while self.left:
            number, busy = len(self.left), set()
            for node in list(self.left):
                if self._is_open(node) and not self._make(node):
                    busy.add(node.run)
            if self.left and len(self.left) == number:
                if not busy <= announced and is_main_process():
                    names = ", ".join(sorted(run.name for run in busy))
                    self.display.warn(
                        f"other processes are working on {names}; waiting for them (Ctrl-C stops only the waiting)"
                    )
                announced |= busy
                time.sleep(LOOK)
        return failures_of(self.graph, self.failed)

    def _is_open(self, node: Node) -> bool:
        """Whether the run can be made now; one that starts from a failed run is given up."""
        if any(run in self.failed for run in self.graph.above(node.run)):
            self.left.remove(node)
            return False
        return node.parent is None or all(other.run != node.parent for other in self.left)

    def _make(self, node: Node) -> bool:
        """Make the run, unless another process works on it (False)."""
        if of_first(lambda: is_held(node.run)):
            return False
        if (failure := of_first(lambda: self._failed_elsewhere(node.run))) is not None:
            self._give_up(node, failure)
            return True
        place = list(self.graph.nodes).index(node.run) + 1
        self.display.say(f"[dim]run {place} of {self.total}:[/] {node.run.name} ({node.label})")
        machine: dict[str, Any] = vars(self.how)
        try:
            make_runs(list(node.chain), **machine, display=self.display, waits=False, opened=self.opened)
        except BeingMade:
            return False
        except Stopped:
            raise
        except OltrError as error:
            self._failed(node, error)
        except Exception as error:  # an error in a method's code, which may be an added one: the other rows still run
            self._failed(node, OltrError(f"{with_type(error)}; for the traceback: {node.command()}"))
        else:
            self.left.remove(node)
        return True

    def _failed_elsewhere(self, run: Run) -> OltrError | None:
        """Why another process failed to make the run since this command started; it is not tried again here."""
        if _ended(run) == self.before[run]:
            return None
        try:
            outcome = run.outcome()
        except DataProblem:
            return None  # said by whoever makes it
        return OltrError(outcome.error) if isinstance(outcome, RunFailure) else None

    def _failed(self, node: Node, error: OltrError) -> None:
        """The run failed here; the other rows still run, if all processes of a group have met the error.

        Raises:
            OltrError: some have not, and wait in vain for this one: the command ends for all.
        """
        if not all_are_here():
            raise error
        self._give_up(node, error)

    def _give_up(self, node: Node, error: OltrError) -> None:
        self.left.remove(node)
        self.failed[node.run] = released(error)
        if is_main_process():
            self.display.warn(f"{node.label}: {node.run.name}: {error}")


def failures_of(graph: Graph, failed: dict[Run, OltrError], about: Callable[[Run], str] = lambda run: "") -> Failures:
    """Each request that has no run, and why: its run failed, or one that it starts from did.

    Args:
        about: what else is known of a failed run, appended to the reason.
    """
    failures: Failures = [(one.label, error) for one, error in graph.refused]
    for one, run in graph.wanted:
        if run in failed:
            failures.append((one.label, OltrError(f"{failed[run]}{about(run)}")))
        elif before := [above for above in graph.above(run) if above in failed]:
            nearest = before[0]
            failures.append((one.label, OltrError(f"starts from {nearest.name}: {failed[nearest]}{about(nearest)}")))
    return failures


def warn_of(failures: Failures, display: Display) -> None:
    """Warn about what failed, what has the same reason in one line."""
    reasons: dict[str, list[str]] = {}
    for what, error in failures:
        reasons.setdefault(str(error), []).append(what)
    for reason, rows in reasons.items():
        display.warn(f"failed: {'; '.join(rows)}: {reason}")


def is_held(run: Run) -> bool:
    """Whether a process holds the run's lock now."""
    if not run.path.is_dir():
        return False
    try:
        with run.lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OltrError:  # it cannot be locked, as whoever makes it will say
        return False


def _ended(run: Run) -> int | None:
    """When the run ended, well or not, in nanoseconds."""
    try:
        return (run.path / RESULT).stat().st_mtime_ns
    except OSError:
        return None
