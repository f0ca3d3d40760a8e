"""Label sets with a promise: conformal prediction from saved scores, for classes of very different frequency.

A set holds the classes that an image may belong to. Class k is in the set of an image if its score is at least its
threshold t_k. The thresholds come from n validation images, whose scores of their true classes are s_1 … s_n:

- The score is the softmax probability p_k, or the prevalence-adjusted softmax p_k / π_k with the share π_k of class k
  among the training images (PAS). PAS gives smaller sets for the same mean coverage over classes.
- The marginal threshold t is the r-th largest of all s_i, r = ⌈(n + 1)·c⌉, with the coverage c. The r is computed
  exactly, from the decimals of c. If r > n, t is 0, and every class is in.
- The threshold of the class, t_k, is the same from the n_k validation images of class k alone.
- ``class_weight`` w interpolates: (1 − w)·t + w·t_k (Interp-Q). 0 is marginal, 1 is class-conditional (Mondrian)
  conformal prediction. A class with n_k < c / (1 − c) has no t_k, and 0 takes its place, as the source does with the
  largest score: with w = 1 it is in every set, with w < 1 it needs (1 − w)·t, less than other classes.

What is promised for a new image of a known class that is drawn like the validation images (exchangeable): the true
class is in the set with probability at least c for w = 0, and at least c for the images of each class for w = 1.
Between, an image is missed only if its score is below t or below t_k, so at least 2c − 1 is guaranteed; c is the aim,
and is usually met. Validation images also choose the best epoch, which makes their scores slightly too good.

The promise is about known classes. Whether an image belongs to any of them is the business of τ alone: "unknown" is a
separate verdict, and its set is what the image may be if that verdict is wrong. A set may be empty or hold all classes.

Source: Ding, Fermanian & Salmon, "Conformal prediction for long-tailed classification", ICLR 2026 (arXiv 2507.06867),
the definitions of s_PAS(x, y) = −p_y / π_y and of Interp-Q on s(x, y) = 1 − p_y. These scores are ours with the sign
turned and a constant added, which changes no set. The quantile is that of split conformal prediction (Papadopoulos et
al. 2002), of each class alone that of Vovk, ACML 2012.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem, UsageProblem, nearest
from oltr_cli.protocol.shots import ClassCounts
from oltr_cli.runs.scores import SavedScores

Score = Literal["softmax", "pas"]
SCORES: tuple[Score, ...] = ("softmax", "pas")
Floats = NDArray[np.float64]
_BLOCK = 2**22  # scores in float64 at a time


@dataclass(frozen=True)
class SetRule:
    """How label sets are made: the coverage c wanted, the score, and the weight w of the classes' own thresholds.

    Raises:
        UsageProblem: a value is out of range.
    """

    coverage: float
    score: Score = "softmax"
    class_weight: float = 0.5

    def __post_init__(self) -> None:
        if not _is_number(self.coverage) or not 0 < self.coverage < 1:
            raise UsageProblem(f"coverage {self.coverage}: give a share above 0 and below 1, such as 0.9")
        if self.score not in SCORES:
            raise UsageProblem(f"no set score '{self.score}'{nearest(str(self.score), SCORES)}")
        if not _is_number(self.class_weight) or not 0 <= self.class_weight <= 1:
            raise UsageProblem(f"class weight {self.class_weight}: give a weight from 0 (marginal) to 1 (by class)")
        for name in ("coverage", "class_weight"):  # a number of numpy has another repr, which ``exact`` reads
            object.__setattr__(self, name, float(getattr(self, name)))

    @classmethod
    def of(cls, coverage: float, score: str | None = None, class_weight: float | None = None) -> "SetRule":
        """The rule, with the usual value in place of None."""
        given = {"score": score, "class_weight": class_weight}
        return cls(coverage, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # checked there

    @property
    def exact(self) -> Fraction:
        """c as the decimal that was typed, not as the nearest binary fraction."""
        return Fraction(repr(self.coverage))

    @property
    def least(self) -> int:
        """The fewest images that have a threshold: the smallest n with ⌈(n + 1)·c⌉ ≤ n."""
        return ceil(self.exact / (1 - self.exact))

    @property
    def guaranteed(self) -> float:
        """The share of images whose true class is in their set that follows from the calibration; see the module."""
        sure = self.exact if self.class_weight in (0, 1) else max(2 * self.exact - 1, Fraction(0))
        return float(sure)

    @property
    def text(self) -> str:
        """The rule and its promise in words."""
        name = "softmax" if self.score == "softmax" else "prevalence-adjusted softmax"
        share = f"{100 * self.guaranteed:.4g} %"
        if self.class_weight == 0:
            return f"{name}, one threshold for all classes: holds the true class for at least {share} of known images"
        if self.class_weight == 1:
            return f"{name}, a threshold for each class: holds the true class for at least {share} of each class"
        return (
            f"{name}, thresholds of class and of all mixed {self.class_weight:.4g} to {1 - self.class_weight:.4g}: "
            f"aims at the true class for {100 * self.coverage:.4g} % of known images, guarantees {share}"
        )


@dataclass(frozen=True)
class LabelSets:
    """Calibrated thresholds.

    Attributes:
        thresholds: (K,), the least score with which a class is in a set; 0 for always.
        prior: (K,), what probabilities are divided by.
        samples: (K,), validation images of each class.
    """

    rule: SetRule
    thresholds: Floats
    prior: Floats
    samples: NDArray[np.int64]

    @property
    def few(self) -> NDArray[np.int64]:
        """Labels of the classes with too few validation images for a threshold of their own."""
        return np.flatnonzero(self.samples < self.rule.least)

    @property
    def few_text(self) -> str:
        """How many classes these are, and what they have, in words; empty if it makes no difference."""
        few, total = len(self.few), int(self.samples.sum())
        if total < self.rule.least:
            return f"{total:,} validation images are fewer than {self.rule.least:,}: every set holds all classes"
        if not few or self.rule.class_weight == 0:
            return ""
        have = "are in every set" if self.rule.class_weight == 1 else "have a lower threshold than the others"
        return (
            f"{few:,} of {len(self.samples):,} classes have fewer than {self.rule.least:,} validation images, too few "
            f"for a threshold of their own, and {have}"
        )

    def scores(self, logits: NDArray[np.floating]) -> Floats:
        """Scores (B, K) of logits (B, K)."""
        return probabilities(logits) / self.prior

    def members(self, logits: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which classes are in the set of each image (B, K), from logits (B, K)."""
        return self.scores(logits) >= self.thresholds

    def covered_and_size(
        self, logits: NDArray[np.floating], labels: NDArray[np.integer]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether the set of each image holds its label (N,), and how many classes it holds (N,); block by block."""
        covered, size = np.empty(len(labels), np.bool_), np.empty(len(labels), np.int64)
        for rows in _blocks(logits):
            members = self.members(logits[rows])
            covered[rows] = members[np.arange(len(members)), labels[rows]]
            size[rows] = members.sum(axis=1)
        return covered, size


def calibrate(rule: SetRule, val: SavedScores, class_counts: ClassCounts) -> LabelSets:
    """Thresholds for ``rule`` from validation scores with logits.

    Args:
        val: n ≥ 1 samples of known classes.
        class_counts: training images of each class (K,). PAS counts a class without any as one with one.

    Raises:
        DataProblem: there are no samples, no logits, or logits of other classes or that are not finite.
    """
    classes = len(class_counts)
    logits = logits_of(val, classes, "scores of val")
    if not len(val):
        raise DataProblem("label sets are calibrated on validation images, but val has none")
    counts = np.maximum(np.asarray(class_counts, np.float64), 1)
    prior = counts / counts.sum() if rule.score == "pas" else np.ones(classes)
    true = np.empty(len(val))
    for rows in _blocks(logits):
        labels = val.labels[rows]
        # The same operations as in LabelSets.scores, or a score on a threshold would fall on either side of it.
        true[rows] = (probabilities(logits[rows]) / prior)[np.arange(len(labels)), labels]
    samples = np.bincount(val.labels, minlength=classes)
    marginal = _thresholds(true, np.zeros(len(true), np.int64), np.array([len(true)]), rule.exact)[0]
    own = _thresholds(true, val.labels, samples, rule.exact)
    mixed = (1 - rule.class_weight) * marginal + rule.class_weight * own
    # Rounding must not lift a threshold above both: the guarantee counts the samples that are exactly on it.
    mixed = np.clip(mixed, np.minimum(marginal, own), np.maximum(marginal, own))
    return LabelSets(rule, mixed, prior, samples)


def logits_of(scores: SavedScores, classes: int, where: str) -> NDArray[np.floating]:
    """The logits (N, K) of scores of known classes.

    Raises:
        DataProblem: there are none, or they have other classes or are not finite; a label is out of range.
    """
    if scores.logits is None:
        raise DataProblem(f"{where}: has no logits, from which label sets are made")
    if scores.logits.shape[1] != classes:
        raise DataProblem(f"{where}: logits have {scores.logits.shape[1]} classes, but there are {classes}")
    if not np.isfinite(scores.logits).all():
        raise DataProblem(f"{where}: logits contain NaN or infinity")
    if len(scores) and not 0 <= scores.labels.min() <= scores.labels.max() < classes:
        raise DataProblem(f"{where}: a label is not one of the {classes} known classes, 0 … {classes - 1}")
    return scores.logits


def _thresholds(scores: Floats, cell: NDArray[np.integer], samples: NDArray[np.integer], coverage: Fraction) -> Floats:
    """The r-th largest score of each cell (cells,), r = ⌈(n + 1)·c⌉; 0 for a cell with r > n.

    Args:
        scores: (N,); ``cell``: (N,), the cell of each; ``samples``: (cells,), their sizes n.
    """
    # Whole numbers of any size: c may have so many decimals that 64 bits do not hold (n + 1) · c.
    ranks = -(-(samples.astype(object) + 1) * coverage.numerator // coverage.denominator)
    enough = (ranks <= samples).astype(np.bool_)
    found = np.zeros(len(samples))
    last = np.cumsum(samples) - 1  # the largest of each cell, in the order of cells and scores
    ordered = scores[np.lexsort((scores, cell))]
    found[enough] = ordered[last[enough] - (ranks[enough].astype(np.int64) - 1)]
    return found


def probabilities(logits: NDArray[np.floating]) -> Floats:
    """Softmax of logits (B, K) in float64."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _blocks(logits: NDArray[np.floating]) -> list[slice]:
    rows = max(1, _BLOCK // logits.shape[1])
    return [slice(start, start + rows) for start in range(0, len(logits), rows)]
