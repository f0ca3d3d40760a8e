"""How unfamiliar an image is to a run: by its reachability γ, or by its low confidence.

γ is the distance to the nearest class centroid (Liu et al., CVPR 2019, Eq. 3). Neither is always better: distances grow
with the length of a feature, which depends on the pictures. So if the run has saved scores of open validation images,
those decide.

A measure that does not separate known from open validation images orders a folder by chance, and the choice says so.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.seeding import generator
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Method
from oltr_cli.protocol.metrics import rank_curve, ranking_metrics
from oltr_cli.runs.scores import SavedScores

DRAWS = 500  # of the bootstrap
INTERVAL = (2.5, 97.5)  # percentiles
BLOCK = 1024  # samples whose distances to all centroids are in memory at a time

By = Literal["reachability", "confidence"]


Pair = tuple[SavedScores, SavedScores]  # known and open validation samples; confidence is higher for better known


@dataclass(frozen=True)
class Area:
    """AUROC of known against open validation samples, and its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measure:
    """How little an image is known: ``by`` reachability, the largest first, or by confidence, the lowest first.

    Attributes:
        area: how well it separates known from open images; None if that cannot be measured.
    """

    by: By
    why: str
    area: Area | None = None

    @property
    def doubt(self) -> str:
        """A line on an order that may be chance; "" if it is better."""
        if self.area is None:
            return (
                f"how well {self.by} finds unknown images cannot be measured: the run has no scores of open validation "
                "images (data build --open gives some); the choice may be no better than chance"
            )
        if self.area.low > 0.5:
            return ""
        return (
            f"{self.by} hardly tells open from known validation images: AUROC {self.area.value:.2f}, 95 % interval "
            f"{self.area.low:.2f} to {self.area.high:.2f}, chance is 0.50; the choice may be no better than chance"
        )


def choose_measure(recogniser: Recogniser, wanted: By | None) -> Measure:
    """The requested measure, or the one that separates open and known validation samples better.

    Raises:
        UsageProblem: reachability is requested, but the method has no centroids.
    """
    method = recogniser.base.method
    has_centroids = type(recogniser.network).explain is not Method.explain
    if wanted == "reachability" and not has_centroids:
        raise UsageProblem(
            f"--by reachability: {method} has no centroids; use a method that has, such as dme, or --by confidence"
        )
    pairs = _validation(recogniser, has_centroids)
    areas = {by: ranking_metrics(rank_curve(*pair))["open/auroc"] or 0.0 for by, pair in pairs.items()}
    by: By
    if wanted is not None:
        by, why = wanted, "as requested"
    elif not has_centroids:
        by, why = "confidence", f"{method} has no centroids"
    elif len(areas) < 2:
        by, why = "reachability", "the run has no open validation samples to compare with confidence"
    else:
        by = "confidence" if areas["confidence"] > areas["reachability"] else "reachability"
        other: By = "reachability" if by == "confidence" else "confidence"
        why = f"AUROC {areas[by]:.3f} on the run's validation samples; {other} {areas[other]:.3f}"
    if by not in pairs:
        return Measure(by, why)
    known, open_ = (scores.confidence for scores in pairs[by])
    return Measure(by, why, Area(areas[by], *auroc_interval(known, open_)))


def auroc_interval(known: NDArray[np.float32], open_: NDArray[np.float32]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the AUROC of confidences (N_k,) against (N_o,), known is positive.

    Both are drawn again with replacement, by a fixed seed.
    """
    level = np.unique(np.concatenate([known, open_]), return_inverse=True)[1].reshape(-1)
    levels = int(level.max()) + 1
    rng = generator(0, "active", "bootstrap")
    areas = np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn = (part[rng.integers(len(part), size=len(part))] for part in (level[: len(known)], level[len(known) :]))
        positive, negative = (np.bincount(part, minlength=levels) for part in drawn)
        areas[draw] = positive @ (np.cumsum(negative) - negative / 2) / (len(known) * len(open_))
    low, high = np.percentile(areas, INTERVAL)
    return float(low), float(high)


def _validation(recogniser: Recogniser, has_centroids: bool) -> dict[By, Pair]:
    """The saved validation samples by what each measure says of them; without a measure whose scores are missing."""
    run, base = recogniser.run, recogniser.base
    if not all(r.scores(split).exists() for r in (run, base) for split in ("val", "open_val")):
        return {}
    known, open_ = (SavedScores.load(run.scores(split)) for split in ("val", "open_val"))
    if not len(known) or not len(open_):
        return {}
    pairs: dict[By, Pair] = {"confidence": (known, open_)}
    if has_centroids:
        gammas = [_reachability(recogniser, SavedScores.load(base.scores(split))) for split in ("val", "open_val")]
        parts = [
            replace(scores, confidence=-gamma)
            for scores, gamma in zip((known, open_), gammas, strict=True)
            if gamma is not None and len(gamma) == len(scores)
        ]
        if len(parts) == 2:
            pairs["reachability"] = (parts[0], parts[1])
    return pairs


def _reachability(recogniser: Recogniser, scores: SavedScores) -> NDArray[np.float32] | None:
    """γ (N,) of saved features."""
    if scores.features is None:
        return None
    gammas = []
    for start in range(0, len(scores), BLOCK):
        part = slice(start, start + BLOCK)
        said = recogniser.explain(
            SavedScores(
                scores.prediction[part], scores.confidence[part], scores.labels[part], features=scores.features[part]
            ),
            1,
        )
        assert said is not None
        gammas.append(said.reachability.numpy())
    return np.concatenate(gammas) if gammas else np.empty(0, np.float32)
