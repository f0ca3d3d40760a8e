"""A trial that a worker holds: what it reports, how it is lost to another worker, and how it is started again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from filelock import BaseFileLock

from oltr_cli.errors import OltrError
from oltr_cli.tuning.about import About, FiledRun
from oltr_cli.tuning.space import Dimension, Value

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# User attributes of a trial: its result, why it failed, and its epochs each time that a process started or resumed it.
OUTCOME, REASON, BEGUN = "outcome", "reason", "begun"
STARTUP = 5  # trials that run to their end before pruning starts


@dataclass(frozen=True)
class Claim:
    """A trial that this process works on, for as long as it holds the lock.

    Attributes:
        values: what is tried; ``resumed``: whether another process started it.
        reported: epochs that it had finished by then.
    """

    number: int
    trial: "optuna.Trial"
    values: dict[str, Value]
    run: FiledRun
    resumed: bool
    reported: frozenset[int]
    lock: BaseFileLock = field(repr=False)


class TrialLost(OltrError):
    """Another worker has taken over the trial."""


@contextmanager
def still_ours(claim: Claim) -> Iterator[None]:
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except UpdateFinishedTrialError:
        raise TrialLost(f"trial {claim.number} was considered lost and is run again by another worker") from None


def pruner(about: About) -> "optuna.pruners.BasePruner":
    """Stops trials that fall behind, after STARTUP trials and from a third of the epochs on."""
    import optuna

    if not about.prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=-(-about.epochs // 3))


def suggest(trial: "optuna.Trial", d: Dimension) -> Value:
    """The value that the study tries for a dimension."""
    if d.choices:
        return trial.suggest_categorical(d.key, d.choices)
    if d.integer:
        return trial.suggest_int(d.key, int(d.low), int(d.high), log=d.log)
    return trial.suggest_float(d.key, d.low, d.high, log=d.log)


def counts(trial: "FrozenTrial") -> bool:
    """Whether it counts as one of the requested trials: started, and not lost."""
    return trial.state.name != "WAITING" and (trial.state.name != "FAIL" or REASON in trial.user_attrs)


def requeue(study: "optuna.Study", trial: "FrozenTrial") -> None:
    """Queue the values of a trial whose worker is gone, for a new trial."""
    import optuna

    again = optuna.create_trial(
        state=optuna.trial.TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={BEGUN: trial.user_attrs.get(BEGUN, [])},
        system_attrs={k: v for k, v in trial.system_attrs.items() if k == "fixed_params"},
    )
    study.add_trial(again)
