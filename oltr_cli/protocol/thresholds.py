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

Where nobody says which, it is ``tuned`` once that is saved, and ``own`` before:
``oltr_cli.protocol.saved_thresholds``.

A rule by class gives a τ for each predicted class. Where fewer than 1 / (1 − q) validation images are predicted as a
class, 20 for q = 0.95, no quantile can reject one of them: the class has the τ of its shot group. A group of too few
has the one τ of ``id_quantile:q``. ``ChosenThreshold.pooled`` says which these are.

Confidences exactly at τ are accepted; see ``oltr_cli.protocol.metrics``.
"""

import math
from dataclasses import dataclass

import numpy as np

from oltr_cli.errors import DataProblem, UsageProblem, nearest
from oltr_cli.protocol.best_threshold import best_f_measure, quantile_threshold, quantile_thresholds
from oltr_cli.protocol.metrics import accepted
from oltr_cli.protocol.shots import ClassCounts
from oltr_cli.runs.choices import ChosenThreshold
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
QUANTILE_RULE = "id_quantile:0.95"  # suits confidences of any range, and needs only known images
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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


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
        UsageProblem: the rule is ``tuned`` or ``own``, which does not follow from scores; see
            ``oltr_cli.protocol.saved_thresholds``.
    """
    given = {"val": val, "open_val": open_val, "test": test, "open": open_test}
    read = {name: scores for name in rule.splits if (scores := given[name]) is not None and len(scores)}
    missing = [name for name in rule.splits if name not in read]
    if missing:
        other = QUANTILE_RULE if val is not None and len(val) else PAPER_RULE
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
