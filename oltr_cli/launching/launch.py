"""Making the runs of a graph: in this process, or as jobs."""

from oltr_cli.base.display import Display
from oltr_cli.base.machine import in_group
from oltr_cli.errors import UsageProblem
from oltr_cli.launching.local import run_local
from oltr_cli.launching.settings import LOCAL, Launcher
from oltr_cli.launching.slurm import run_slurm
from oltr_cli.launching.tasks import Task, graph_failures, graph_tasks
from oltr_cli.pipeline.working import Failures, How, work_through
from oltr_cli.planning.graph import Graph


def make_graph(graph: Graph, how: How, launcher: Launcher | None, display: Display) -> Failures:
    """Make every run of the graph that can be made; what cannot is returned, and the rest still runs.

    Args:
        launcher: None: one run after another in this process.
    Raises:
        Stopped: a signal came.
        OltrError: jobs cannot be started.
    """
    if launcher is None:
        return work_through(graph, how, display)
    return graph_failures(graph, run_tasks(graph_tasks(graph, how, display), launcher, how.device, display))


def run_tasks(tasks: list[Task], launcher: Launcher, device: str | None, display: Display) -> dict[str, str]:
    """Run tasks as jobs; returns the names of those that failed, with reasons.

    Raises:
        UsageProblem: this process is one of a group.
        Stopped, OltrError: see ``make_graph``.
    """
    if in_group():
        raise UsageProblem("--launcher starts processes of its own; leave torchrun out")
    if launcher.kind == LOCAL:
        return run_local(tasks, launcher, device, display)
    return run_slurm(tasks, launcher, display)
