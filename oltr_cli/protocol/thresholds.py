"""How the threshold τ is chosen: by a named rule, which is saved in every result.

===============  =========================================================================================
fixed:0.1        any finite number, also just 0.1; the paper uses 0.1
id_quantile:q    the largest τ that accepts at least the share q of closed validation; needs no open data
group_quantile:q the same for each shot group of the predicted class, so that rare classes are not thrown out
class_quantile:q the same for each predicted class; too few validation images of one: its group's τ
val_open         the F-measure's optimum on closed validation and open *validation* classes
oracle_test      the F-measure's optimum on the test set itself: reads the answers, so its numbers carry a †
tuned            what ``oltr tune threshold`` saved for the run
own              the rule of the run's method or detector, fixed:0.1 or id_quantile:0.95
===============  =========================================================================================

Where nobody says which, it is ``tuned`` once that is saved, and ``own`` before: ``default_threshold``.

A rule by class gives a τ for each predicted class. Where fewer than 1 / (1 − q) validation images are predicted as a
class, 20 for q = 0.95, no quantile can reject one of them: the class has the τ of its shot group. A group of too few
has the one τ of ``id_quantile:q``. ``ChosenThreshold.pooled`` says which these are.

Confidences exactly at τ are accepted; see ``oltr_cli.protocol.metrics``.
"""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.added_files import given_files
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, UsageProblem, nearest
from oltr_cli.protocol.metrics import Threshold, accepted, f_measure, rank_curve
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.result import CHOSEN, RESULT, TUNED, ChosenDetector, ChosenThreshold, Pooled, RunResult, read_tuned
from oltr_cli.runs.scores import SavedScores

# The splits each rule reads. "open" is the open part of the test set.
RULES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "id_quantile": ("val",),
    "group_quantile": ("val",),
    "class_quantile": ("val",),
    "val_open": ("val", "open_val"),
    "oracle_test": ("test", "open"),
    "tuned": (),
    "own": (),
}
PAPER_RULE = "fixed:0.1"
_QUANTILES = ("id_quantile", "group_quantile", "class_quantile")
_WITH_NUMBER = {"fixed": PAPER_RULE, **{name: f"{name}:0.95" for name in _QUANTILES}}


@dataclass(frozen=True)
class ThresholdRule:
    """A rule and, for fixed and quantiles, its number."""

    name: str
    argument: float | None = None

    @classmethod
    def parse(cls, text: str) -> "ThresholdRule":
        """Read a number, ``fixed:0.1``, ``id_quantile:0.95`` and the like, ``val_open``, ``oracle_test``, ``tuned`` or
        ``own``.

        Raises:
            UsageProblem: no such rule, or its number is missing, not allowed or out of range.
        """
        name, colon, number = text.strip().partition(":")
        if not colon and _number(name) is not None:
            name, number = "fixed", name
        if name not in RULES:
            raise UsageProblem(f"threshold '{text}' is neither a number nor a rule{nearest(name, RULES)}")
        if name not in _WITH_NUMBER:
            if colon:
                raise UsageProblem(f"threshold '{text}': {name} takes no number; write {name}")
            return cls(name)
        argument = _number(number)
        if argument is None or not math.isfinite(argument):
            raise UsageProblem(f"threshold '{text}': {name} takes a finite number, as in {_WITH_NUMBER[name]}")
        if name in _QUANTILES and not 0 < argument <= 1:
            raise UsageProblem(f"threshold '{text}': {name} takes a share, 0 < q ≤ 1, as in {_WITH_NUMBER[name]}")
        return cls(name, argument + 0.0)  # "-0" is 0

    @property
    def text(self) -> str:
        """The rule as typed: ``ThresholdRule.parse(rule.text) == rule``."""
        return self.name if self.argument is None else f"{self.name}:{self.argument!r}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits it reads, of val, open_val, test and open."""
        return RULES[self.name]

    @property
    def by_class(self) -> bool:
        """Whether it gives a τ for each predicted class."""
        return self.name in ("group_quantile", "class_quantile")

    @property
    def marks_test_leak(self) -> bool:
        """Whether metrics at this τ must be marked with a †, because it was chosen on the test set."""
        return self.name == "oracle_test"


def saved_threshold(run_dir: Path, result: RunResult, rule: ThresholdRule | None) -> ChosenThreshold | ThresholdRule:
    """τ of a finished run if ``rule`` means one that is saved with it, else ``rule`` itself.

    Args:
        rule: None takes ``default_threshold``.

    Raises:
        UsageProblem: the rule is ``tuned``, and none was saved.
        DataProblem: threshold.json is to be read and is damaged.
    """
    if rule is None:
        return default_threshold(run_dir, result)
    if rule.name == "own":
        return _fitting(result.threshold, result, run_dir / RESULT)
    if rule.name != "tuned":
        return rule
    tuned = read_tuned(run_dir)
    if tuned is None:
        how = "" if (run_dir / "scores" / "open_val.npz").exists() else f" --rule {_WITH_NUMBER['id_quantile']}"
        raise UsageProblem(
            f"{result.run}: no tuned threshold is saved; choose one with: oltr tune threshold --run "
            f"{shlex.quote(result.run)}{how}{given_files()}"
        )
    return _fitting(tuned.chosen, result, run_dir / TUNED)


def choice_threshold(
    run_dir: Path, result: RunResult, chosen: ChosenDetector, rule: ThresholdRule | None
) -> ChosenThreshold | ThresholdRule:
    """``saved_threshold`` for the detector that was chosen for the run: never a τ of another confidence.

    Raises:
        UsageProblem: the rule is ``tuned``, and no τ was tuned for this detector.
    """
    run, file = result.run, run_dir / CHOSEN
    if rule is None:
        return _fitting(chosen.default_threshold, result, file)
    if rule.name == "own":
        return _fitting(chosen.threshold, result, file)
    if rule.name != "tuned":
        return rule
    if chosen.tuned is None:
        raise UsageProblem(
            f"{run}: no threshold was tuned for the confidence of {chosen.name}; choose one with: oltr tune threshold "
            f"--run {shlex.quote(run)}{given_files()}"
        )
    return _fitting(chosen.tuned.chosen, result, file)


def default_threshold(run_dir: Path, result: RunResult) -> ChosenThreshold:
    """τ of a finished run when nobody says which: the tuned one once there is one, the run's own before.

    Raises:
        DataProblem: threshold.json is damaged.
    """
    tuned = read_tuned(run_dir)
    if tuned:
        return _fitting(tuned.chosen, result, run_dir / TUNED)
    return _fitting(result.threshold, result, run_dir / RESULT)


def _fitting(chosen: ChosenThreshold, result: RunResult, file: Path) -> ChosenThreshold:
    """``chosen``, whose thresholds by class must be as many as the run's classes."""
    classes = len(result.class_counts)
    if chosen.by_class is not None and len(chosen.by_class) != classes:
        raise DataProblem(
            f"{file}: has thresholds for {counted(len(chosen.by_class), 'class')}, and the run has {classes}"
        )
    return chosen


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class FMeasureCurve:
    """open/f_measure of N_k known and N_o open samples at any τ: one sort to build, O(log N) per query."""

    def __init__(self, known: SavedScores, open_: SavedScores) -> None:
        self._curve = rank_curve(known, open_)
        right = self._curve.right
        self._values = f_measure(right, len(known) - right, self._curve.open)

    def at(self, tau: float) -> float:
        """The F-measure if confidences below ``tau`` are rejected."""
        return float(self._values[self._curve.accepted_at(tau)])

    def best(self) -> tuple[float, float]:
        """(τ, F) of the exact optimum over all thresholds, the lowest such τ if several are equal.

        Only observed confidences need to be tried. If rejecting nothing is best, τ is 0 (or the lowest confidence, if
        that is negative), so that future samples are not rejected either.
        """
        confidence = self._curve.confidence
        if not len(confidence):
            return 0.0, 0.0
        values = self._values[1:]
        position = int(np.flatnonzero(values == values.max())[-1])
        tau = float(confidence[position])
        return (min(0.0, tau) if position == len(confidence) - 1 else tau), float(values[position])


def f_measure_at(known: SavedScores, open_: SavedScores, tau: Threshold) -> float:
    """open/f_measure at τ, which may be one for each predicted class (K,)."""
    right = int(((known.prediction == known.labels) & accepted(known, tau)).sum())
    return float(f_measure(right, len(known) - right, int(accepted(open_, tau).sum())))


def best_f_measure(known: SavedScores, open_: SavedScores) -> tuple[float, float]:
    """(τ, F): the threshold that maximises open/f_measure, and its value there; see ``FMeasureCurve.best``."""
    return FMeasureCurve(known, open_).best()


def quantile_threshold(known: SavedScores, share: float) -> float:
    """The largest τ that accepts at least ``share`` (0 < share ≤ 1) of N ≥ 1 samples: an observed confidence."""
    total = len(known)
    kept = min(max(math.ceil(share * total), 1), total)
    # share · total can round to just above a whole number; the share itself decides.
    if kept > 1 and (kept - 1) / total >= share:
        kept -= 1
    return float(np.partition(known.confidence, total - kept)[total - kept])


def quantile_thresholds(
    known: SavedScores, share: float, class_counts: ClassCounts, shots: str, each_class: bool
) -> tuple[NDArray[np.float64], Pooled | None]:
    """The τ of each predicted class (K,) that accepts at least ``share`` of N ≥ 1 samples that were predicted as it.

    Args:
        class_counts, shots: they define the shot groups.
        each_class: whether each class has its own τ, or that of its group.

    Returns:
        τ (K,), and the classes that have too few samples for one of their own; None if there are none.
    """
    masks = {name: mask for name, mask in shot_groups(class_counts, shots).items() if mask.any()}
    group_of_class = np.select(list(masks.values()), range(len(masks)))
    groups = _cell_quantiles(known.confidence, group_of_class[known.prediction], len(masks), share)
    tau = np.where(np.isnan(groups), quantile_threshold(known, share), groups)[group_of_class]
    pooled = Pooled(groups=[name for name, one in zip(masks, groups, strict=True) if np.isnan(one)])
    if each_class:
        own = _cell_quantiles(known.confidence, known.prediction, len(tau), share)
        tau = np.where(np.isnan(own), tau, own)
        # A class of a group that has no τ is said with its group.
        pooled = Pooled(groups=pooled.groups, classes=int((np.isnan(own) & ~np.isnan(groups)[group_of_class]).sum()))
    return tau, pooled if pooled.groups or pooled.classes else None


def _cell_quantiles(
    confidence: NDArray[np.floating], cell: NDArray[np.integer], cells: int, share: float
) -> NDArray[np.float64]:
    """``quantile_threshold`` of the samples of each cell (cells,), NaN for one with too few."""
    least = 1 if share == 1 else math.ceil(round(1 / (1 - share), 6))
    samples = np.bincount(cell, minlength=cells)
    kept = np.maximum(np.ceil(share * samples).astype(np.int64), 1)
    kept -= (kept > 1) & ((kept - 1) / np.maximum(samples, 1) >= share)
    end = np.cumsum(samples)
    found = np.full(cells, np.nan)
    enough = samples >= least
    found[enough] = confidence[np.lexsort((confidence, cell))][(end - kept)[enough]]
    return found


def choose(
    rule: ThresholdRule,
    class_counts: ClassCounts,
    shots: str = "paper",
    *,
    val: SavedScores | None,
    open_val: SavedScores | None,
    test: SavedScores | None = None,
    open_test: SavedScores | None = None,
) -> ChosenThreshold:
    """τ by ``rule``, for all classes or, of a rule by class, for each.

    Raises:
        DataProblem, UsageProblem: see ``choose_threshold``.
    """
    value = choose_threshold(rule, val=val, open_val=open_val, test=test, open_test=open_test)
    if not rule.by_class:
        return ChosenThreshold(rule=rule.text, value=value)
    assert val is not None
    assert rule.argument is not None
    tau, pooled = quantile_thresholds(val, rule.argument, class_counts, shots, rule.name == "class_quantile")
    if not np.isfinite(tau).all():
        raise DataProblem(f"threshold {rule.text}: a confidence of val is not finite")
    return ChosenThreshold(rule=rule.text, value=value, by_class=tau.tolist(), pooled=pooled)


def open_accepted(open_: SavedScores | None, chosen: ChosenThreshold) -> dict[str, float] | None:
    """Shares of open samples that are accepted by a τ by class and by the one τ of its share: what it costs.

    None if τ is the same for all classes, or there are no open samples.
    """
    if chosen.by_class is None or open_ is None or not len(open_):
        return None
    return {
        "by_class": float(accepted(open_, chosen.tau).mean()),
        "one_tau": float(accepted(open_, chosen.value).mean()),
    }


def choose_threshold(
    rule: ThresholdRule,
    *,
    val: SavedScores | None,
    open_val: SavedScores | None,
    test: SavedScores | None,
    open_test: SavedScores | None,
) -> float:
    """τ by ``rule``, of a rule by class the one τ of its share; splits that it does not read may be None.

    Raises:
        DataProblem: a split that the rule reads is missing or empty.
        UsageProblem: the rule is ``tuned`` or ``own``, which does not follow from scores; see ``saved_threshold``.
    """
    given = {"val": val, "open_val": open_val, "test": test, "open": open_test}
    read = {name: scores for name in rule.splits if (scores := given[name]) is not None and len(scores)}
    missing = [name for name in rule.splits if name not in read]
    if missing:
        # The quantile suits confidences of any range, and needs only known images.
        other = _WITH_NUMBER["id_quantile" if val is not None and len(val) else "fixed"]
        raise DataProblem(
            f"threshold {rule.text} reads {' and '.join(rule.splits)}, but there are no scores of "
            f"{' and '.join(missing)}; give them, or use another rule, such as {other}"
        )
    if rule.name in ("tuned", "own"):
        raise UsageProblem(f"threshold {rule.text} is saved with a run, not with scores")
    if rule.name == "fixed":
        return rule.argument or 0.0
    if rule.name in _QUANTILES:
        tau = quantile_threshold(read["val"], rule.argument or 1.0)
    else:
        tau = best_f_measure(*(read[name] for name in rule.splits))[0]
    if not math.isfinite(tau):
        raise DataProblem(f"threshold {rule.text}: a confidence of {' or '.join(rule.splits)} is not finite")
    return tau
