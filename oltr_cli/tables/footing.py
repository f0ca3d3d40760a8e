"""On what footing a row's numbers stand: the epochs of each stage behind them, and whether the backbone was trained."""

from dataclasses import dataclass
from typing import Literal

from oltr_cli.planning.which_run import parent_of, result_of, trains_backbone
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult

_Backbone = Literal["trained", "frozen"] | None
_BACKBONE: dict[bool | None, _Backbone] = {True: "trained", False: "frozen", None: None}


@dataclass(frozen=True)
class Footing:
    """How a run was trained, a detector's as the run that it stands on.

    Attributes:
        stages: epochs of each run of the chain, the first ancestor first; runs that are gone count as one.
        from_scratch: whether the method usually starts from another one, and was trained from nothing.
        backbone: whether the last stage trained it; None if that is not known.
    """

    stages: tuple[int, ...] = ()
    backbone: _Backbone = None
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
    return Footing((*under.stages, result.epochs), _BACKBONE[trains_backbone(run)], scratch)
