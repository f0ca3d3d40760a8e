"""What is to be started as jobs: the runs of a graph, each with the command that makes it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.pipeline.problems import unscored_sets
from oltr_cli.pipeline.tracked import complete
from oltr_cli.pipeline.working import Failures, How, failures_of, is_held
from oltr_cli.planning.graph import Graph, Node
from oltr_cli.runs.folder import Run


@dataclass(frozen=True)
class Task:
    """One job.

    Attributes:
        name: of its run; names its folder and log too.
        label: what it was asked for, as "dme, seed 0".
        arguments: of ``oltr``.
        parent: the name of the task that has to be finished first.
        finished: whether there is nothing left to do.
        busy: whether another process works on it.
    """

    name: str
    label: str
    arguments: tuple[str, ...]
    parent: str | None = None
    finished: Callable[[], bool] = lambda: False
    busy: Callable[[], bool] = lambda: False


def graph_tasks(graph: Graph, how: How, display: Display) -> list[Task]:
    """A task for each run of a graph, in its order.

    A finished run is given what a job that was killed after its result left out, such as plots.
    """
    options = machine_options(how)

    def task(node: Node) -> Task:
        return Task(
            node.run.name,
            node.label,
            (*node.arguments(), "--no-wait", *options),
            node.parent.name if node.parent else None,
            lambda: _is_finished(node, how.track, display),
            lambda: is_held(node.run),
        )

    return [task(node) for node in graph.nodes.values()]


def machine_options(how: How) -> tuple[str, ...]:
    """The options of ``how`` as a command takes them.

    Raises:
        UsageProblem: one GPU was asked for by its number, and jobs are given one each.
    """
    if how.device is not None and ":" in how.device:
        raise UsageProblem(f"--device {how.device}: jobs are given a GPU each; use --device {how.device.split(':')[0]}")
    options: list[str] = [] if how.device is None else ["--device", how.device]
    options += [] if how.workers is None else ["--workers", str(how.workers)]
    options += [] if how.track else ["--no-track"]
    return (*options, *(["--compile"] if how.compiled else []))


def graph_failures(graph: Graph, failed: dict[str, str]) -> Failures:
    """Failures of the requests of a graph, from the names of failed tasks and their reasons."""
    by_run: dict[Run, OltrError] = {run: OltrError(failed[run.name]) for run in graph.nodes if run.name in failed}
    return failures_of(graph, by_run)


def with_log(reason: str, log: Path) -> str:
    """Why a job failed, and where it says more."""
    return f"{reason} (log: {_short(log)})"


def names(tasks: Iterable[Task]) -> str:
    return ", ".join(sorted(task.name for task in tasks))


def _short(path: Path) -> str:
    """A path as it is typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _is_finished(node: Node, track: bool, display: Display) -> bool:
    result = node.run.result()
    if result is None or is_held(node.run) or unscored_sets(node.planned, result):  # held: its plots are being drawn
        return False
    complete(node.run, result, display, track)
    return True
