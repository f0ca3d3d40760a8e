"""Choose τ from a finished run's saved *validation* scores, and keep the choice in the run's folder.

Nothing here opens the scores of the test set: only ``val`` and ``open_val`` are read, so a tuned run's test numbers are
as honest as those at a fixed τ.

The F-measure as a function of τ is a staircase whose exact optimum one sort finds, and that is what is kept. The Optuna
study beside it shows what a search with a budget finds on the same objective; it is kept on disk and can be resumed.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.pipeline.chosen import scores_by_choice
from oltr_cli.protocol.best_threshold import FMeasureCurve, f_measure_at
from oltr_cli.protocol.metrics import accepted
from oltr_cli.protocol.thresholds import ThresholdRule, choose, open_accepted
from oltr_cli.runs.choices import Pooled, TunedThreshold, read_chosen_detector
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult, read_result
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tuning.storage import open_journal

JOURNAL = "threshold.journal"
TUNABLE = ("val_open", "id_quantile:0.95", "group_quantile:0.95", "class_quantile:0.95")


@dataclass(frozen=True)
class Study:
    """What the search found: its best τ, F there, and how many trials it has had."""

    name: str
    tau: float
    f_measure: float
    trials: int


@dataclass(frozen=True)
class Tuned:
    """The threshold chosen for one run.

    Attributes:
        f_measure_val: at ``value``; None where there are no open validation samples.
        detector: whose confidence τ is for, if not the run's own.
        by_class: τ of each predicted class (K,), by a rule by class; ``value`` is then the one τ of the same share.
        pooled: the classes without a τ of their own, if there are any.
        open_accepted: share of open validation samples that is accepted at τ, and ``open_accepted_one_tau`` at the one
            τ of a rule by class.
        rejects_nothing: whether the best F-measure on validation is that of a threshold which rejects nothing.
    """

    run: str
    rule: str
    value: float
    f_measure_val: float | None
    study: Study | None  # None for quantiles, which need no search
    rejects_nothing: bool = False
    detector: str | None = None
    by_class: list[float] | None = None
    open_accepted: float | None = None
    open_accepted_one_tau: float | None = None
    pooled: Pooled | None = None

    @property
    def what(self) -> str:
        """The run, and the detector if it has one."""
        return self.run if self.detector is None else f"{self.run} with {self.detector}"

    def as_json(self) -> dict[str, Any]:
        of_some = ("detector", "by_class", "open_accepted_one_tau", "pooled")
        left_out = {"rejects_nothing", *(name for name in of_some if getattr(self, name) is None)}
        values = {**asdict(self), "pooled": self.pooled and self.pooled.as_json()}
        return {key: value for key, value in values.items() if key not in left_out}


def tuning_rule(text: str) -> ThresholdRule:
    """Parse a rule that chooses τ on validation data.

    Raises:
        UsageProblem: no such rule, or a rule with nothing to tune or that reads the test set.
    """
    rule = ThresholdRule.parse(text)
    if rule.marks_test_leak:
        raise UsageProblem(
            f"{rule.text} reads the test set, which tuning must not; use {', '.join(TUNABLE[:-1])} or {TUNABLE[-1]}. "
            f"To see its numbers, marked †: oltr evaluate RUN --threshold {rule.text}"
        )
    if not rule.splits:
        raise UsageProblem(
            f"{rule.text} leaves nothing to tune; use {', '.join(TUNABLE[:-1])} or {TUNABLE[-1]}. "
            f"To evaluate a run at it: oltr evaluate RUN --threshold {rule.text}"
        )
    return rule


def tune_threshold(run: Run, rule: ThresholdRule, trials: int = 50) -> Tuned:
    """Choose τ for a finished run by ``rule`` and write it to threshold.json in the run's folder.

    Args:
        rule: from ``tuning_rule``. val_open takes the exact optimum of open/f_measure on validation.
        trials: the study (val_open only) is brought up to this many; a study that has them already gets no more.

    Raises:
        DataProblem: scores that the rule reads are missing, empty or broken.
        OltrError: the choice cannot be written.
    """
    splits = {name: SavedScores.load(run.scores(name)) for name in ("val", "open_val") if run.scores(name).exists()}
    tuned = _tune(run, read_result(run.path), None, splits.get("val"), splits.get("open_val"), rule, trials)
    _saved(tuned).write(run.path)
    return tuned


def tune_threshold_of_choice(run: Run, rule: ThresholdRule, trials: int = 50) -> Tuned | None:
    """The same for the detector that ``oltr tune detector`` chose for the run, saved with that choice; None without.

    Raises:
        OltrError: as ``tune_threshold``; or the detector cannot be fitted.
    """
    chosen = read_chosen_detector(run.path)
    if chosen is None:
        return None
    result = read_result(run.path)
    read = scores_by_choice(run, result, chosen)
    tuned = _tune(run, result, chosen.name, read("val"), read("open_val"), rule, trials)
    chosen.model_copy(update={"tuned": _saved(tuned)}).write(run.path)
    return tuned


def _saved(tuned: Tuned) -> TunedThreshold:
    study = tuned.study
    return TunedThreshold(
        rule=tuned.rule,
        value=tuned.value,
        f_measure_val=tuned.f_measure_val,
        study=study.name if study else None,
        trials=study.trials if study else 0,
        by_class=tuned.by_class,
        pooled=tuned.pooled,
    )


def _tune(
    run: Run,
    result: RunResult,
    detector: str | None,
    val: SavedScores | None,
    open_val: SavedScores | None,
    rule: ThresholdRule,
    trials: int,
) -> Tuned:
    what = run.name if detector is None else f"{run.name} with {detector}"
    try:
        chosen = choose(rule, result.class_counts, result.shots, val=val, open_val=open_val)
    except DataProblem as error:
        raise DataProblem(f"{what}: {error}") from None
    tau, f_measure, study, rejects_nothing, opens = chosen.value, None, None, False, None
    if val is not None and open_val is not None and len(val) and len(open_val):
        curve = FMeasureCurve(val, open_val)
        f_measure = curve.at(tau) if chosen.by_class is None else f_measure_at(val, open_val, chosen.tau)
        opens = float(accepted(open_val, chosen.tau).mean())
        if rule.name == "val_open":
            confidence = np.concatenate([val.confidence, open_val.confidence])
            if not np.isfinite(confidence).all():
                raise DataProblem(f"{what}: a validation confidence is infinite; τ needs finite scores")
            bounds = min(0.0, float(confidence.min())), float(confidence.max())
            rejects_nothing = tau <= float(confidence.min())
            study = _search(run, f"{what} {rule.text}", curve, bounds, trials)
    costs = open_accepted(open_val, chosen)
    one_tau = None if costs is None else costs["one_tau"]
    return Tuned(
        run.name,
        rule.text,
        tau,
        f_measure,
        study,
        rejects_nothing,
        detector,
        chosen.by_class,
        opens,
        one_tau,
        chosen.pooled,
    )


def _search(run: Run, name: str, curve: FMeasureCurve, bounds: tuple[float, float], trials: int) -> Study:
    """Bring the run's study up to ``trials`` finished trials, by ask and tell; each costs one binary search."""
    import optuna
    from optuna.trial import TrialState

    journal = run.path / JOURNAL
    storage = open_journal(journal)
    try:
        if name not in optuna.get_all_study_names(storage):  # creating it again would add a line to the journal
            optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
        study = optuna.load_study(study_name=name, storage=storage)
        done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        # Equal scores make equal studies; a resumed one must not repeat its first samples.
        study.sampler = optuna.samplers.TPESampler(seed=run.seed + done)
        for _ in range(trials - done):
            trial = study.ask()
            study.tell(trial, curve.at(trial.suggest_float("tau", *bounds)))
    except OSError as error:
        raise OltrError(f"{journal}: cannot be written: {error}") from None
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return Study(name, float(study.best_params["tau"]), float(study.best_value), len(finished))
