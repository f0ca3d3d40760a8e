"""How unfamiliar an image is to a run: by its reachability γ, or by its low confidence.

γ is the distance to the nearest class centroid (Liu et al., CVPR 2019, Eq. 3). Neither is always better: distances grow
with the length of a feature, which depends on the pictures. So if the run has saved scores of open validation images,
those decide.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Method
from oltr_cli.protocol.metrics import rank_curve, ranking_metrics
from oltr_cli.runs.scores import SavedScores

BLOCK = 1024  # samples whose distances to all centroids are in memory at a time

By = Literal["reachability", "confidence"]


@dataclass(frozen=True)
class Measure:
    """How little an image is known: ``by`` reachability, the largest first, or by confidence, the lowest first."""

    by: By
    why: str


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
    if wanted is not None:
        return Measure(wanted, "as requested")
    if not has_centroids:
        return Measure("confidence", f"{method} has no centroids")
    areas = _areas(recogniser)
    if areas is None:
        return Measure("reachability", "the run has no open validation samples to compare with confidence")
    by: By = "confidence" if areas["confidence"] > areas["reachability"] else "reachability"
    other: By = "reachability" if by == "confidence" else "confidence"
    return Measure(by, f"AUROC {areas[by]:.3f} on the run's validation samples; {other} {areas[other]:.3f}")


def _areas(recogniser: Recogniser) -> dict[By, float] | None:
    """AUROC of each measure on the saved validation samples, known against open; None if one of them is missing."""
    confidences: dict[By, list[SavedScores]] = {"reachability": [], "confidence": []}
    for split in ("val", "open_val"):
        if not recogniser.run.scores(split).exists() or not recogniser.base.scores(split).exists():
            return None
        saved, features = SavedScores.load(recogniser.run.scores(split)), recogniser.base.scores(split)
        gamma = _reachability(recogniser, SavedScores.load(features))
        if gamma is None or len(gamma) != len(saved) or not len(saved):
            return None
        confidences["confidence"].append(saved)
        confidences["reachability"].append(replace(saved, confidence=-gamma))
    return {by: ranking_metrics(rank_curve(*pair))["open/auroc"] or 0.0 for by, pair in confidences.items()}


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
