"""How unfamiliar an image is to a run: by its reachability γ, or by its low confidence.

γ is the distance to the nearest class centroid (Liu et al., CVPR 2019, Eq. 3). Neither is always better: distances grow
with the length of a feature, which depends on the pictures. They are compared as ``oltr tune detector`` compares
detectors (oltr_cli/protocol/separation.py), on the run's saved validation scores: the confidence stays unless γ is
better by more than chance explains. The confidence is that of the detector that ``oltr tune detector`` chose for the
run, if it chose one.

A measure that does not separate known from open validation images orders a folder by chance, and the choice says so.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.detector import Detector
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Method
from oltr_cli.protocol.separation import CLOSED, CRITERIA, Samples, separation
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores

BLOCK = 1024  # samples whose distances to all centroids are in memory at a time

By = Literal["reachability", "confidence"]
Verdict = Literal["better than chance", "chance", "worse than chance", "unknown"]
# Samples of val and of open_val, if there are any; their confidence is higher for better known images.
Pair = tuple[SavedScores, SavedScores | None]


@dataclass(frozen=True)
class Area:
    """An AUROC on the run's validation samples, and its 95 % bootstrap interval.

    Attributes:
        criterion: of what, in words.
        against_open: whether known images are told from open ones, and not right predictions from wrong ones.
    """

    value: float
    low: float
    high: float
    criterion: str
    against_open: bool

    @property
    def text(self) -> str:
        """In words, with what chance gives."""
        return f"AUROC {self.value:.3f}, 95 % interval {self.low:.3f} to {self.high:.3f}, chance 0.5"

    @property
    def verdict(self) -> Verdict:
        """Whether it tells the samples apart."""
        if self.low > 0.5:
            return "better than chance"
        return "worse than chance" if self.high < 0.5 else "chance"


@dataclass(frozen=True)
class Measure:
    """How little an image is known: ``by`` reachability, the largest first, or by confidence, the lowest first.

    Attributes:
        name: ``by``, and the detector whose confidence it is.
        why: it was taken.
        area: what is known of how good it is; None if nothing is.
    """

    by: By
    name: str
    why: str
    area: Area | None = None

    @property
    def text(self) -> str:
        """How good it is and why it was taken."""
        judged = "" if self.area is None else f"{self.area.text} ({self.area.criterion}); "
        return f"by {self.name}: {judged}{self.why}"

    @property
    def verdict(self) -> Verdict:
        """On how well it finds unknown images."""
        return "unknown" if self.area is None or not self.area.against_open else self.area.verdict

    @property
    def doubt(self) -> str:
        """A line on an order that is not known to be better than a random one; "" if it is."""
        if self.verdict == "better than chance":
            return ""
        if self.verdict == "chance":
            assert self.area is not None
            return (
                f"{self.name} does not tell open from known validation images: {self.area.text}. This is chance: for "
                "finding unknown images, these picks are no better than random ones"
            )
        if self.verdict == "worse than chance":
            assert self.area is not None
            return (
                f"{self.name} takes known validation images for less known than open ones: {self.area.text}. For "
                "finding unknown images, these picks are worse than random ones"
            )
        line = (
            f"how well {self.name} finds unknown images is not known, because the run has no scores of open validation "
            "images (data build --open gives some); these picks may be no better than random ones"
        )
        if self.area is None:
            return line
        if self.area.verdict == "better than chance":
            return f"{line}. It finds wrong predictions on val better than chance does: {self.area.text}"
        return f"{line}. It does not find wrong predictions on val either: {self.area.text}"

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` says of it."""
        area = self.area
        numbers = None if area is None else {"value": area.value, "low": area.low, "high": area.high}
        criterion = None if area is None else area.criterion
        return {
            **{"by": self.by, "score": self.name, "why": self.why, "auroc": numbers, "criterion": criterion},
            **{"verdict": self.verdict, "doubt": self.doubt},
        }


def choose_measure(recogniser: Recogniser, wanted: By | None) -> Measure:
    """The requested measure, or the one that is better on the run's validation samples.

    Raises:
        UsageProblem: reachability is requested, but the method has no centroids.
        DataProblem: saved scores are damaged.
    """
    method = recogniser.base.method
    has_centroids = type(recogniser.network).explain is not Method.explain
    if wanted == "reachability" and not has_centroids:
        raise UsageProblem(
            f"--by reachability: {method} has no centroids; use a method that has, such as dme, or --by confidence"
        )
    pairs = _validation(recogniser, has_centroids)
    detector = recogniser.detector
    name = "confidence" if detector is None else f"confidence of {detector.name}"
    if wanted is None and not has_centroids:
        wanted, why = "confidence", f"{method} has no centroids"
    else:
        why = "as requested"
    found = best_measure(pairs, recogniser.class_counts, recogniser.result.shots, wanted, why, name)
    reads_val = detector is not None and type(detector).calibrate is not Detector.calibrate
    if detector is not None and reads_val and found.by == "confidence" and found.area is not None:
        found = replace(found, why=f"{found.why}; {detector.name} was fitted to val, so this may be too high")
    return found


def best_measure(
    pairs: dict[By, Pair],
    class_counts: ClassCounts,
    shots: str,
    wanted: By | None = None,
    why: str = "as requested",
    name: str = "confidence",
) -> Measure:
    """The measure to use, by what each says of the validation samples.

    Args:
        pairs: measure → samples that it judged, the same ones for all; empty if there are none.
        class_counts, shots: the shot groups whose mean counts.
        wanted: the measure to use in any case, and ``why``.
        name: of the confidence.
    """
    names: dict[By, str] = {"confidence": name, "reachability": "reachability"}
    areas, gains = _judged(pairs, class_counts, shots)
    if wanted is not None:
        return Measure(wanted, names[wanted], why, areas.get(wanted))
    if "reachability" not in areas:
        why = "the run has no validation scores that show reachability to be better"
        return Measure("confidence", name, why, areas.get("confidence"))
    # The confidence is the first, so its own gain is 0.
    by: By = "reachability" if gains["reachability"] > 0 else "confidence"
    other: By = "confidence" if by == "reachability" else "reachability"
    ahead = areas[other].value > areas[by].value
    why = f"{names[other]} has {areas[other].value:.3f}" + (", not better beyond chance" if ahead else "")
    return Measure(by, names[by], why, areas[by])


def _judged(pairs: dict[By, Pair], class_counts: ClassCounts, shots: str) -> tuple[dict[By, Area], dict[By, float]]:
    """The area of each measure, and the lower end of the interval of what it is better by than the first."""
    if not pairs:
        return {}, {}
    val, open_val = next(iter(pairs.values()))
    try:
        samples = Samples.of("the run", val, open_val, shot_groups(class_counts, shots))
    except DataProblem:  # all predictions are right, or all are wrong
        return {}, {}
    told = separation([samples.pair(*pair) for pair in pairs.values()], samples.groups)
    low, high = told.interval
    criterion = CLOSED if open_val is None else CRITERIA["groups"]
    areas = {
        by: Area(float(told.value[i]), float(low[i]), float(high[i]), criterion, open_val is not None)
        for i, by in enumerate(pairs)
    }
    return areas, dict(zip(pairs, told.gain[1].tolist(), strict=True))


def _validation(recogniser: Recogniser, has_centroids: bool) -> dict[By, Pair]:
    """The saved validation samples by what each measure says of them, the confidence first; without a measure whose
    scores are missing."""
    base = recogniser.base
    val = _saved(recogniser, "val")
    if val is None:
        return {}
    open_val = _saved(recogniser, "open_val")
    pairs: dict[By, Pair] = {"confidence": (val, open_val)}
    if has_centroids and base.scores("val").exists() and (open_val is None or base.scores("open_val").exists()):
        known = _by_reachability(recogniser, val, SavedScores.load(base.scores("val")))
        unknown = None
        if open_val is not None:
            unknown = _by_reachability(recogniser, open_val, SavedScores.load(base.scores("open_val")))
        if known is not None and (unknown is None) == (open_val is None):
            pairs["reachability"] = (known, unknown)
    return pairs


def _saved(recogniser: Recogniser, split: str) -> SavedScores | None:
    """The samples of a split with the confidence that the recogniser gives them; None if there are none."""
    file = recogniser.run.scores(split)
    if not file.exists():
        return None
    scores = SavedScores.load(file)
    if not len(scores):
        return None
    # A run of a detector has its confidences saved; a detector that was chosen for a run later has not.
    if recogniser.detector is not None and recogniser.run == recogniser.base:
        return recogniser.detector.score(scores)
    return scores


def _by_reachability(recogniser: Recogniser, judged: SavedScores, base: SavedScores) -> SavedScores | None:
    """``judged`` with −γ as confidence; None if the run under it has saved other samples, or no features."""
    gamma = _reachability(recogniser, base)
    return None if gamma is None or len(gamma) != len(judged) else replace(judged, confidence=-gamma)


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
