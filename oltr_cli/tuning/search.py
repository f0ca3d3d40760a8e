"""A search from its request to its study: make the runs that all trials start from, then work on the study.

The same command in several shells, or on several machines, makes several workers.
"""

import os
from typing import TYPE_CHECKING

from oltr_cli.base.display import Display
from oltr_cli.base.machine import default_workers, make_accelerator
from oltr_cli.base.text import counted
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.problems import check_adapters, check_outliers
from oltr_cli.planning.plan import Planned, check_words, plan
from oltr_cli.protocol.catalogue import METRICS, metric
from oltr_cli.runs.folder import STUDIES, runs_root
from oltr_cli.tuning.about import About
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.space import Dimension, check_space, check_written, own_values, read_space
from oltr_cli.tuning.storage import check_database, named_faults
from oltr_cli.tuning.study import Study
from oltr_cli.tuning.summary import header

if TYPE_CHECKING:
    from oltr_cli.tuning.trial import Workbench


def search(request: Request, display: Display) -> Study:
    """Bring a study up to ``request.total`` trials, together with other workers, if there are any.

    Raises:
        UsageProblem: the request does not fit the method, the recipe or the data.
        DataProblem: the lists are not those that the recipe was made for.
        Stopped: a signal came; the same command resumes the trial.
        OltrError: a run that all trials start from cannot be made, the storage fails, or the first trials do.
    """
    planned, space = checked(request, display)
    ancestors = planned[:-1]
    if ancestors:
        make_runs(ancestors, device=request.device, workers=request.workers, track=request.track, display=display)
    bench = _workbench(request, planned, display)
    from oltr_cli.tuning.trial import check_objective, default_objective
    from oltr_cli.tuning.worker import Worker

    objective = request.objective or default_objective(bench.view)
    check_objective(objective, bench.view)
    maximize = metric(objective).better == "higher"
    about = About.of(planned, request, space, objective, maximize)
    first = own_values(space, planned[-1])
    with named_faults(request.database or f"{runs_root() / about.dataset / STUDIES}"):
        study = Study.open(about, first, runs_root(), request.database)
        _introduce(study, request.total, first is not None, display)
        Worker(study, bench, request.total, request.timeout, request.track, display).work()
    return study


def checked(request: Request, display: Display) -> tuple[list[Planned], tuple[Dimension, ...]]:
    """The runs that a request tunes, and the space of the search; all that can be refused is, before anything is made.

    Raises:
        UsageProblem, DataProblem: see ``search``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageProblem("oltr tune needs one process per trial; start it once for each GPU, with --device cuda:N")
    if request.objective is not None and request.objective not in METRICS:
        raise UsageProblem(f"--objective {request.objective}: no such metric{nearest(request.objective, METRICS)}")
    check_words(request.method, request.recipe, request.sets)
    check_written(request.ranges, request.space_file)
    display.starting_torch()
    planned = plan(request.method, request.recipe, request.sets, request.seed)
    space = read_space(planned[-1], request.params, request.ranges, request.space_file)
    check_space(space, request.method, request.recipe, request.sets, request.seed)
    if request.database is not None:
        check_database(request.database)
    from oltr_cli.data.feed.opening import check_lists

    # Of all lists, the test set's too, once and by the files' bytes alone: a trial opens only some of them.
    check_lists(planned[-1].link.recipe.data)
    return planned, space


def _workbench(request: Request, planned: list[Planned], display: Display) -> "Workbench":
    from oltr_cli.data.store.split import from_store
    from oltr_cli.tuning.trial import Workbench, validation_view

    check_adapters(planned)
    accelerator = make_accelerator(request.device)
    with display.bar("opening the dataset", 1) as bar:
        outliers = any(p.about.uses_outliers for p in planned)
        view = validation_view(planned[-1].link.recipe.data, bar.reached, outliers=outliers)
    check_outliers(planned, view.splits)
    view = from_store(view, display)
    workers = default_workers() if request.workers is None else request.workers
    bench = Workbench(planned, request.recipe, request.sets, view, accelerator, workers, _BarsOnly(display.quiet))
    bench.share()
    return bench


class _BarsOnly(Display):
    """Bars and warnings of a trial's training; its lines would be too many."""

    def say(self, text: str) -> None:
        pass


def _introduce(study: Study, total: int, own: bool, display: Display) -> None:
    about, begun = study.about, len(study.trials())
    display.say(f"[bold]{study.name}[/]: {about.objective} on validation; {begun} of {counted(total, 'trial')} started")
    for dimension in about.space:
        display.say(f"  {dimension.key} in {dimension.text}")
    if not own and not begun:
        display.say("[dim]the recipe's own values are not tried: they are outside of the ranges, or not numbers[/]")
    if begun < total or any(t.state.name == "RUNNING" for t in study.trials()):
        display.say(header(about))
