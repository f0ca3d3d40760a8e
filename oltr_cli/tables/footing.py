"""On what footing a row's numbers stand: the epochs of each stage behind them, and whether the backbone was trained."""

from dataclasses import dataclass
from typing import Any, Literal

from oltr_cli.errors import OltrError
from oltr_cli.planning.described import described
from oltr_cli.planning.which_run import parent_of, result_of
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult


@dataclass(frozen=True)
class Footing:
    """How a run was trained, a detector's as the run that it stands on.

    Attributes:
        stages: epochs of each run of the chain, the first ancestor first; runs that are gone count as one.
        from_scratch: whether the method usually starts from another one, and was trained from nothing.
        backbone: whether the last stage trained it; None if that is not known.
    """

    stages: tuple[int, ...] = ()
    backbone: Literal["trained", "frozen"] | None = None
    from_scratch: bool = False


def footing_of(run: Run, result: RunResult) -> Footing:
    """The footing of a finished run, from its files and those of the runs that it starts from."""
    if result.epochs is None:
        return Footing()
    parent = parent_of(run)
    before = result_of(parent) if parent is not None else None
    if parent is not None and before is not None:
        under = footing_of(parent, before)
    else:
        earlier = (result.epochs_total or 0) - result.epochs
        under = Footing((earlier,) if earlier > 0 else ())
    if result.detector is not None:
        return under
    train = recorded_recipe(run.path).get("train")
    scratch = bool(train and train.get("from_scratch"))
    return Footing((*under.stages, result.epochs), _backbone(run, train), scratch)


def _backbone(run: Run, train: dict[str, Any] | None) -> Literal["trained", "frozen"] | None:
    try:
        if described(run.method).on_features:
            return "frozen"
    except OltrError:  # the method was added, and its file is not given
        return None
    if train is None:
        return None
    return "frozen" if train.get("freeze_backbone") else "trained"
