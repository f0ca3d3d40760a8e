"""A search whose workers are jobs, all of one study."""

import hashlib
import shlex

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError
from oltr_cli.launching.launch import run_tasks
from oltr_cli.launching.settings import Launcher
from oltr_cli.launching.tasks import Task, graph_tasks, machine_options
from oltr_cli.pipeline.working import How
from oltr_cli.planning.graph import Wanted, build_graph
from oltr_cli.runs.folder import find_studies
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.search import checked
from oltr_cli.tuning.study import Study
from oltr_cli.tuning.summary import open_study


def search_by_jobs(
    request: Request, launcher: Launcher, option: str, display: Display
) -> tuple[Study | None, dict[str, str]]:
    """Make the runs that all trials start from, then start ``launcher.count`` workers of the study and wait for them.

    Args:
        option: gives a command line the recipe, as ``Source.option``.
    Returns:
        the study, and the workers that failed, with reasons; no study if the jobs are not waited for.
    Raises:
        UsageProblem, DataProblem: the request does not fit, as for ``search``.
        OltrError: there is no study afterwards.
    """
    planned, _ = checked(request, display)
    how = How(request.device, request.workers, request.track)
    label = f"{request.method}, seed {request.seed}"
    wanted = Wanted(label, request.method, request.recipe, option, tuple(request.sets), request.seed)
    before = graph_tasks(build_graph([wanted]), how, display)[:-1]
    arguments = _arguments(request, option)
    about = [word for word in arguments if not word.startswith(("--trials=", "--timeout="))]
    digest = hashlib.sha256("\0".join(about).encode()).hexdigest()[:8]
    workers = [
        Task(
            f"{planned[-1].run.dataset}/tune/{request.method}-{digest}/worker-{number}",
            f"worker {number}",
            (*arguments, *machine_options(how)),
            before[-1].name if before else None,
        )
        for number in range(1, (launcher.count or 1) + 1)
    ]
    failed = run_tasks([*before, *workers], launcher, request.device, display)
    for name in (task.name for task in before if task.name in failed):
        raise OltrError(f"{name}, from which all trials start, failed: {failed[name]}")
    if not launcher.wait:
        return None, failed
    studies = [name for name in find_studies() if name.startswith(f"{planned[-1].run.dataset}/{request.method}-")]
    if not studies:
        raise OltrError(f"no worker began a study: {next(iter(failed.values()), 'they ended without a word')}")
    newest = max(studies, key=lambda name: (find_studies()[name] / "trials").stat().st_mtime)
    return open_study(newest, request.database), failed


def _arguments(request: Request, option: str) -> list[str]:
    """The ``oltr tune`` command of a worker."""
    words = ["tune", "search", *request.params, f"--method={request.method}", *shlex.split(option)]
    words += [f"--set={one}" for one in request.sets] + [f"--range={one}" for one in request.ranges]
    given = {"--space": request.space_file, "--objective": request.objective, "--storage": request.database}
    words += [f"{name}={value}" for name, value in given.items() if value is not None]
    words += [] if request.timeout is None else [f"--timeout={request.timeout}s"]
    words += [] if request.prune else ["--no-prune"]
    return [*words, f"--seed={request.seed}", f"--trials={request.total}"]
