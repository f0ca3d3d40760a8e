"""OpenMax: a (K+1)-th logit "unknown", raised by lowering the logits of classes with distant training activations.

    μ_c = mean logits of the correctly classified training samples of class c
    d_c(v) = ‖v − μ_c‖ / 200 + 1 − cos(v, μ_c)                                      ("eucos")
    w_c = Weibull CDF at d_c(v), fitted to the ``tail`` largest training distances of the class
    v̂_c = v_c · (1 − w_c · (α + 1 − rank_c) / α) for the α largest logits;  v̂_0 = Σ_c (v_c − v̂_c)
    P = softmax(v̂_0, v̂_1 … v̂_K)

Source: Bendale & Boult, "Towards Open Set Deep Networks", CVPR 2016; Algorithms 1–2, tail 20, α 10. In the paper it is
a row of Table 3, on top of Range loss.

Output: prediction = arg max over the K revised known logits; confidence = the probability of that class if it is at
least the unknown's, otherwise −u / (1 + u) with u = −ln(1 − P(unknown)), between −1 and 0. So at any τ > 0 a sample is
accepted exactly when OpenMax accepts it (a known class wins, with a probability of at least τ), and rejected samples
are still ranked by P(unknown), which is often so close to 1 that −P(unknown) of two of them is equal in float32.

Deviations, all for cases that occur on a long tail but not in the source; ``report`` counts them:
- A class without a correctly classified sample uses the mean and the distances of all its samples.
- A class without two distinct distances uses a pooled fit: to the distances of the classes that have fewer than
  ``tail`` of them (of all classes, if none has fewer), each times √(n/(n−1)), because n samples are closer to their own
  mean than to the class's true mean.
- A class without any sample, or with nothing to pool, is never revised (w = 0).
- v·(1 − w) would raise a negative logit: for the revision a sample's logits are shifted so that the lowest is ≥ 0. This
  also raises the unknown logit; ``negative = "keep"`` shifts nothing and leaves negative logits unchanged, which is the
  source's result if the α largest logits are positive.
- "euclidean" is ‖v − μ‖/200, as in the authors' code: the Weibull fit moves every tail to 1, so its unit matters.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._class_means import class_means
from ._weibull import Fit, Weibulls, fit_tails

Distance = Literal["eucos", "euclidean", "cosine"]
Floats = NDArray[np.float64]

NEAR = 1e-4  # ‖v − μ‖² below this share of ‖v‖² + ‖μ‖² has lost too many of float64's 16 digits, elsewhere at most 4


class OpenMax(Detector):
    """OpenMax on the saved logits (N, K), which are its activation vectors.

    Attributes:
        means: μ (C + 1, K), one row for each of the C classes with samples; a last row of zeros is for all others.
        place: row of each class in ``means`` (K,).
        squared_lengths: ‖μ‖² (C + 1,).
        weibulls: the K fits.
    """

    starts_from = "range"
    source = "Bendale & Boult, CVPR 2016"
    threshold_rule = "fixed:0.1"
    search_space: ClassVar[dict[str, str]] = {"detector.tail": "5:100", "detector.alpha": "1:20"}
    reads = ("logits",)
    block = 512  # float64 logits of this many samples fit into the processor's cache

    class Params(MethodParams):
        """Symbols as in the source."""

        tail: int = Field(
            20, ge=2, description="number of largest distances of a class to which its Weibull distribution is fitted"
        )
        alpha: int = Field(10, ge=1, description="α, number of largest logits that are revised; at most K")
        distance: Distance = Field("eucos", description="distance to a class mean; eucos is the sum of the other two")
        negative: Literal["shift", "keep"] = Field(
            "shift", description="shift a sample's logits so that none is negative, or keep negative logits unchanged"
        )
        fit: Fit = Field(
            "auto",
            description="how the Weibull distributions are fitted; auto: libmr if it is installed, else vectorised",
        )

    setup: DetectorSetup[Params]
    means: Floats
    place: NDArray[np.integer]
    squared_lengths: Floats
    weibulls: Weibulls

    def fit(self, train: SavedScores) -> None:
        """Means, distances and Weibull fits of all classes.

        Raises:
            UsageProblem: libmr is requested by name but not installed.
        """
        p, train = self.setup.params, self.require(train)
        logits = train.logits
        num_classes = logits.shape[1]
        used = train.prediction == train.labels
        no_correct = np.bincount(train.labels[used], minlength=num_classes) == 0
        used |= no_correct[train.labels]
        rows = np.flatnonzero(used)
        labels = train.labels[rows]
        counts = np.bincount(labels, minlength=num_classes)
        # Only rows that are needed: with 20,000 classes a (K, K) array takes 3 GB.
        found = np.flatnonzero(counts)
        self.place = np.full(num_classes, len(found))
        self.place[found] = np.arange(len(found))
        right = ((logits[rows[piece]], self.place[labels[piece]]) for piece in self.blocks(len(rows)))
        self.means, _ = class_means(right, len(found) + 1, num_classes)
        self.squared_lengths = np.vecdot(self.means, self.means)
        distances = np.empty(len(rows))
        for piece in self.blocks(len(rows)):
            block = logits[rows[piece]].astype(np.float64)
            distances[piece] = _distance(block, self.means[self.place[labels[piece]]], p.distance)
        tails = _largest(distances, labels, counts, p.tail)
        self.weibulls, self._way = fit_tails(tails, p.fit)
        own = self.weibulls.fitted
        pooled = self._pool(tails, counts)
        absent = counts == 0
        self._report = {
            "fit": self._way,
            "classes with their own fit": int(own.sum()),
            "classes with the pooled fit": int(pooled.sum()),
            "classes never revised": int((~own & ~pooled).sum()),
            "classes without training samples": int(absent.sum()),
            "classes without correct samples": int((no_correct & ~absent).sum()),
        }

    def _pool(self, tails: Floats, counts: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Give classes that could not be fitted the pooled fit; returns which these are (K,)."""
        fits = self.weibulls
        needy = ~fits.fitted & (counts > 0)
        if not needy.any() or not fits.fitted.any():
            return np.zeros_like(needy)
        givers = fits.fitted & (counts < self.setup.params.tail)
        if not givers.any():
            givers = fits.fitted
        scaled = tails[givers] * np.sqrt(counts[givers] / (counts[givers] - 1))[:, None]
        pool, _ = fit_tails(scaled[np.isfinite(scaled)][None], self.setup.params.fit)
        for values, shared in ((fits.shape, pool.shape), (fits.scale, pool.scale), (fits.lowest, pool.lowest)):
            values[needy] = shared
        return needy

    def judge(self, block: Samples) -> tuple[NDArray[np.integer], Floats]:
        """Prediction over the K revised known logits, and the confidence defined in the module's docstring."""
        known, unknown = self.revise(block.logits.astype(np.float64))
        prediction, highest = known.argmax(axis=1), known.max(axis=1)
        known -= highest[:, None]
        spread = np.log(np.exp(known, out=known).sum(axis=1))
        # From log P(any known class) − log P(unknown), both from one softmax over K + 1 logits.
        margin = highest + spread - unknown
        log_known = -np.logaddexp(0, -margin)
        winner = np.exp(log_known - spread)
        return prediction, np.where(highest >= unknown, winner, log_known / (1 - log_known))

    def revise(self, logits: Floats) -> tuple[Floats, Floats]:
        """v̂ of the known classes (B, K) and of the unknown one (B,), for logits (B, K) float64."""
        p = self.setup.params
        alpha = min(p.alpha, logits.shape[1])
        top = _top(logits, alpha)
        w = self.weibulls.score(top, self._distances(logits, top))
        lowest = np.minimum(logits.min(axis=1, keepdims=True), 0) if p.negative == "shift" else 0.0
        known = logits - lowest
        revised = np.take_along_axis(known, top, axis=1)
        moved = np.maximum(revised, 0) * w * (np.arange(alpha, 0, -1) / alpha)
        np.put_along_axis(known, top, revised - moved, axis=1)
        return known, moved.sum(axis=1)

    def _distances(self, logits: Floats, classes: NDArray[np.integer]) -> Floats:
        """Distances (B, A) of each row of logits (B, K) to the means of A classes (B, A).

        From products with these means, one column at a time: all at once would be a (B, A, K) array, and a product
        with all K means would take K / A times as many operations.
        """
        kind = self.setup.params.distance
        products, means = np.empty(classes.shape), np.empty_like(logits)
        classes = self.place[classes]
        for column, c in zip(products.T, classes.T, strict=True):
            np.take(self.means, c, axis=0, out=means, mode="clip")  # the default mode makes another copy
            column[:] = np.vecdot(logits, means)
        own, theirs = np.vecdot(logits, logits)[:, None], self.squared_lengths[classes]
        squared = own + theirs - 2 * products
        distances = _combine(squared, products, own * theirs, kind)
        if kind != "cosine":
            # If two vectors are much closer than they are long, rounding of their lengths exceeds the distance.
            rows, ranks = np.nonzero(squared < NEAR * (own + theirs))
            for piece in self.blocks(len(rows)):
                near = self.means[classes[rows[piece], ranks[piece]]]
                distances[rows[piece], ranks[piece]] = _distance(logits[rows[piece]], near, kind)
        return distances

    def report(self) -> dict[str, Any]:
        """Which fit was used, and how many classes had less data than the source assumes."""
        return self._report


def _top(logits: Floats, count: int) -> NDArray[np.integer]:
    """Classes of the ``count`` largest logits of each row (B, count), falling.

    Equal logits, which are common once logits are saved as float16, are in the order of numpy's ``argpartition``.
    That takes ten times as long as ``topk`` and is used only where the order of equal logits matters.
    """
    values, found = (part.numpy() for part in torch.from_numpy(logits).topk(min(count + 1, logits.shape[1]), dim=1))
    top = found[:, :count]
    tied = np.flatnonzero((values[:, 1:] == values[:, :-1]).any(axis=1))
    falling = -logits[tied]
    chosen = np.argpartition(falling, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(falling, chosen, axis=1), axis=1)
    top[tied] = np.take_along_axis(chosen, order, axis=1)
    return top


def _distance(v: Floats, mean: Floats, kind: Distance) -> Floats:
    """Distance of each row of v (B, K) to the same row of mean (B, K), (B,)."""
    difference = v - mean
    squared = np.vecdot(difference, difference)
    return _combine(squared, np.vecdot(v, mean), np.vecdot(v, v) * np.vecdot(mean, mean), kind)


def _combine(squared: Floats, products: Floats, lengths: Floats, kind: Distance) -> Floats:
    """Distance from ‖v − μ‖², v · μ and ‖v‖² ‖μ‖², all of one shape; a vector of zeros has cosine 0."""
    total = np.zeros(squared.shape)
    if kind != "cosine":
        total += np.sqrt(np.maximum(squared, 0)) / 200
    if kind != "euclidean":
        total += 1 - products / np.maximum(np.sqrt(lengths), np.finfo(np.float64).tiny)
    return total


def _largest(distances: Floats, labels: NDArray[np.integer], counts: NDArray[np.integer], tail: int) -> Floats:
    """The ``tail`` largest distances of each class (K, tail), falling, NaN if it has fewer."""
    order = np.lexsort((-distances, labels))
    labels = labels[order]
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[labels]
    kept = rank < tail
    tails = np.full((len(counts), tail), np.nan)
    tails[labels[kept], rank[kept]] = distances[order][kept]
    return tails
