"""From a method's name to a finished run: resolve the chain, find or train each run of it, score, evaluate, record."""

from oltr_cli.base.display import Display
from oltr_cli.base.machine import in_group, is_main_process
from oltr_cli.pipeline.opened import Opened
from oltr_cli.pipeline.problems import (
    check_adapters,
    unscored_sets,
    warn_of_other_lists,
)
from oltr_cli.pipeline.together import of_first
from oltr_cli.pipeline.tracked import complete
from oltr_cli.planning.plan import Planned, plan
from oltr_cli.runs.result import RunResult


def run_method(
    method: str,
    recipe: str,
    sets: list[str] | None = None,
    seed: int = 0,
    *,
    device: str | None = None,
    workers: int | None = None,
    track: bool = True,
    display: Display | None = None,
) -> RunResult:
    """The result of a run, which is made first if it does not exist, with all runs it starts from.

    Raises:
        OltrError: what went wrong, with its exit code; a failed run keeps its checkpoints and an error in result.json.
    """
    planned = plan(method, recipe, sets or [], seed)
    return make_runs(planned, device=device, workers=workers, track=track, display=display or Display())


def make_runs(
    planned: list[Planned],
    *,
    device: str | None,
    workers: int | None,
    track: bool,
    display: Display,
    compiled: bool = False,
    waits: bool = True,
    opened: Opened | None = None,
) -> RunResult:
    """The result of the last run of a chain; see ``run_method``.

    Args:
        compiled: train backbones that ``torch.compile`` has compiled.
        waits: for a run that another process works on.
        opened: from an earlier call for the same device; then the earlier runs of the chain were seen to as well.
    Raises:
        BeingMade: not ``waits``, and another process works on a run of the chain.
    """
    if not is_main_process():
        display.quiet = True
    shared = opened or Opened(device, display)
    if in_group():
        shared.join_group()
    results, added = of_first(lambda: _found(planned))
    if results[-1] is not None and not any(added):
        display.say(f"[dim]{planned[-1].run.name} is finished[/]")
        warn_of_other_lists(planned[-1], results[-1], display)
        if is_main_process():
            for p, result in list(zip(planned, results, strict=True))[-1 if opened else 0 :]:
                if result is not None:
                    complete(p.run, result, display, track)
        return results[-1]
    display.starting_torch()
    from oltr_cli.planning.detectors import check_pair

    if planned[-1].is_detector:  # before anything is trained
        check_pair(planned[-1].cls, planned[-1].link.recipe.detector, planned[-2].cls)
    unfinished = [p for p, result in zip(planned, results, strict=True) if result is None]
    check_adapters(unfinished)
    dataset = shared.dataset(planned[-1], unfinished)
    from oltr_cli.pipeline.networks import NetworkScores
    from oltr_cli.pipeline.session import Session

    networks = NetworkScores(planned, dataset, shared.accelerator, display, workers)
    session = Session(planned, networks, track, compiled, waits)
    for p, result, sets in zip(planned, results, added, strict=True):
        if result is None:
            result = session.make(p)
        elif sets:
            result = session.add_sets(p, sets)
        elif opened is None:
            display.say(f"[dim]{p.run.name} is finished[/]")
            if is_main_process():
                complete(p.run, result, display, track)
    assert result is not None
    return result


def _found(planned: list[Planned]) -> tuple[list[RunResult | None], list[list[str]]]:
    """The results that are there, and the open sets that each of them lacks."""
    results = [p.run.result() for p in planned]
    return results, [unscored_sets(p, result) if result else [] for p, result in zip(planned, results, strict=True)]
