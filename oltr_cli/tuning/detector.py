"""Choose a detector for a finished run from its saved *validation* scores, and keep the choice in the run's folder.

With open validation images, a detector is judged by its AUROC against them, the mean over the shot groups by default:
rare classes count as much as frequent ones. Without, by the AUROC of right against wrong predictions on closed
validation. The run's own confidence stays unless a detector is better by more than chance explains: the intervals of
all detectors together hold with 95 % (each with 1 − 0.05 / number of detectors), from a paired bootstrap. With too few
samples for a bootstrap nothing is chosen. Nothing here opens the scores of the test set.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.added_code import named_faults
from oltr_cli.detector import Detector
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.pipeline.rescoring import NoTrainingScores, Rescoring, detector_names
from oltr_cli.protocol.separation import CLOSED, CRITERIA, DRAWS, By, Samples, separation
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule, choose
from oltr_cli.runs.choices import ChosenDetector, ChosenThreshold, forget_chosen_detector
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores


@dataclass(frozen=True)
class Judged:
    """A detector, or the run's own confidence ("own"), on validation.

    Attributes:
        value: of the criterion.
        groups: AUROC by shot group, and of "all"; without open images only of "all".
        gain, low, high: ``value`` less that of the own confidence, and its interval.
        saw_val: it was fitted to the samples that judge it; it is shown and never chosen.
    """

    name: str
    value: float
    groups: dict[str, float]
    gain: float
    low: float
    high: float
    saw_val: bool = False


@dataclass(frozen=True)
class Choice:
    """What was found for one run.

    Attributes:
        judged: the best first.
        left_out: detector → why it could not be judged.
        chosen: None if the run keeps its own confidence.
        too_few: which validation images are too few for a choice, if any are.
    """

    run: str
    criterion: str
    judged: list[Judged]
    left_out: dict[str, str]
    chosen: ChosenDetector | None
    too_few: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "criterion": self.criterion,
            "chosen": self.chosen.as_json() if self.chosen else None,
            "detectors": [asdict(one) for one in self.judged],
            "left_out": self.left_out,
            **({"too_few": self.too_few} if self.too_few else {}),
        }


@dataclass
class _Candidates:
    """Confidences on validation so far, and the fitted detectors behind them; the first is the run's own."""

    names: list[str] = field(default_factory=list)
    pairs: list[tuple[NDArray[np.floating], NDArray[np.floating]]] = field(default_factory=list)
    saw_val: list[bool] = field(default_factory=list)
    thresholds: dict[str, ChosenThreshold] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)


def tune_detector(
    run: Run,
    by: By = "groups",
    seed: int = 0,
    draws: int = DRAWS,
    advance: Callable[[str], object] = lambda name: None,
    not_scored: str = "",
) -> Choice:
    """Rank all detectors for a finished run of a trained method, and write the choice to detector.json.

    A choice of before is replaced, and removed where the run's own confidence stays.

    Args:
        by: which AUROC counts, if there are open validation images; see ``CRITERIA``.
        seed, draws: of the bootstrap.
        advance: called with the name of each detector once it is judged.
        not_scored: why there are no scores of the training set, if it is known; said of each detector that they are
            missing for.

    Raises:
        DataProblem: validation scores are missing, broken, or allow no comparison.
        OltrError: the choice cannot be written.
    """
    result = read_result(run.path)
    on = Rescoring(run, result)
    val = on.split("val")
    open_val = on.split("open_val") if on.has("open_val") else None
    open_val = open_val if open_val is not None and len(open_val) else None
    samples = Samples.of(run.name, val, open_val, shot_groups(result.class_counts, result.shots))
    found, left_out = _Candidates(), {}

    def add(name: str, known: SavedScores, open_: SavedScores | None, saw_val: bool = False) -> None:
        found.names.append(name)
        found.pairs.append(samples.pair(known, open_))
        found.saw_val.append(saw_val)

    add("own", val, open_val)
    for name in detector_names():
        try:
            with named_faults():
                detector = on.fitted(name)
                known = on.scores(detector, "val")
                against = None if open_val is None else on.scores(detector, "open_val")
                found.thresholds[name] = _own_threshold(detector, known, against, on)
        except NoTrainingScores as problem:
            left_out[name] = (
                f"fitted to the training set, which cannot be scored: {not_scored}" if not_scored else str(problem)
            )
        except OltrError as problem:
            left_out[name] = str(problem)
        else:
            add(name, known, against, _reads_val(detector))
            found.params[name] = detector.setup.params.model_dump(mode="json", by_alias=True)
        advance(name)
    told = separation(found.pairs, samples.groups, by, draws, seed)
    gain, low, high = told.gain
    judged = [
        Judged(
            name,
            float(told.value[i]),
            {**dict(zip(samples.names, told.groups[i].tolist(), strict=True)), "all": float(told.overall[i])},
            float(gain[i]),
            float(low[i]),
            float(high[i]),
            found.saw_val[i],
        )
        for i, name in enumerate(found.names)
    ]
    judged.sort(key=lambda one: (-one.value, one.name != "own", one.name))  # equal to the own one: the own one
    too_few = samples.too_few(by)
    better = [one for one in judged if one.low > 0 and not one.saw_val and too_few is None]
    criterion = CRITERIA[by] if open_val is not None else CLOSED
    chosen = None
    if better:
        best = better[0]
        chosen = ChosenDetector(
            name=best.name,
            params=found.params[best.name],
            threshold=found.thresholds[best.name],
            criterion=criterion,
            value=best.value,
            own_value=float(told.value[0]),
            low=best.low,
            high=best.high,
        )
        chosen.write(run.path)
    else:
        forget_chosen_detector(run.path)
    return Choice(run.name, criterion, judged, left_out, chosen, too_few)


def check_by(by: str) -> By:
    """The criterion of that name.

    Raises:
        UsageProblem: there is none.
    """
    for known in CRITERIA:
        if by == known:
            return known
    raise UsageProblem(f"--by {by}: choose one of {', '.join(CRITERIA)}")


def _reads_val(detector: Detector) -> bool:
    return type(detector).calibrate is not Detector.calibrate


def _own_threshold(
    detector: Detector, val: SavedScores, open_val: SavedScores | None, on: Rescoring
) -> ChosenThreshold:
    """τ by the detector's own rule, from its scores."""
    rule = ThresholdRule.parse(getattr(detector, "threshold_rule", PAPER_RULE))
    return choose(rule, on.result.class_counts, on.result.shots, val=val, open_val=open_val)
