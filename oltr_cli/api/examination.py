"""``oltr_cli.evaluate`` and ``oltr_cli.examine``: the metrics of saved scores, and which classes and samples go wrong.

It is the code behind ``oltr evaluate``.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oltr_cli.errors import DataProblem, UsageProblem, first_line
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.evaluate import (
    Evaluation,
    Splits,
    evaluate_scores,
    evaluate_splits,
    saved_splits,
)
from oltr_cli.protocol.label_sets import LabelSets, SetRule
from oltr_cli.protocol.mislabelled import SPLITS, Suspect, perhaps_mislabelled
from oltr_cli.protocol.mistakes import PER_KIND, Mistake, at_threshold, find_mistakes, samples_of
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.saved_thresholds import choice_threshold, saved_threshold
from oltr_cli.protocol.score_files import known_and_open, read_scores, scores_of_arrays
from oltr_cli.protocol.set_coverage import SetCoverage, set_coverage
from oltr_cli.protocol.shots import read_class_counts, shot_groups
from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
from oltr_cli.runs.choices import ChosenThreshold, read_chosen_detector
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores

ScoresLike = str | os.PathLike[str] | Mapping[str, ArrayLike] | SavedScores
CountsLike = str | os.PathLike[str] | Sequence[int] | NDArray[np.integer]


class Examination:
    """What was evaluated, and what goes wrong in it; everything is computed when it is asked for.

    Attributes:
        evaluation: all metrics at τ.
        class_names, class_counts: (K,) by label.

    Args:
        read: the scores of a split, with the confidence that was evaluated; ``own``: those that a network saved, with
            logits.
    """

    def __init__(
        self, evaluation: Evaluation, class_names: list[str], class_counts: list[int], read: Splits, own: Splits
    ) -> None:
        self.evaluation, self.class_names, self.class_counts = evaluation, class_names, class_counts
        self._read, self._own = read, own

    @property
    def known(self) -> SavedScores:
        """Test samples of known classes."""
        known = self._read("test")
        assert known is not None  # or there would be no evaluation
        return known

    @property
    def open(self) -> SavedScores | None:
        """Open test samples; None if there are none."""
        found = self._read("open")
        return found if found is not None and len(found) else None

    def per_class(self) -> PerClass:
        """The numbers of each class."""
        return PerClass.of(
            self.known, self.open, self.class_counts, self.evaluation.threshold.tau, self.evaluation.shots
        )

    def confusions(self) -> Confusions:
        """Which classes are decided to be which at τ, open samples and rejections included."""
        return Confusions.of(self.known, self.open, len(self.class_counts), self.evaluation.threshold.tau)

    def mistakes(self, most: int = PER_KIND) -> list[Mistake]:
        """At most so many of each kind of mistake, the most confident first."""
        found = find_mistakes(self.known, self.open, self.class_counts, self.evaluation.shots, most)
        return samples_of(at_threshold(found, self.evaluation.threshold.tau))

    def mislabelled(self, most: int | None = PER_KIND) -> list[Suspect]:
        """Samples whose labels are perhaps wrong, of val, test and train where their scores are saved.

        Raises:
            UsageProblem: cleanlab is not installed.
            DataProblem: no scores have logits.
        """
        splits = {name: scores for name in SPLITS if (scores := self._own(name)) is not None}
        return perhaps_mislabelled(splits, len(self.class_counts), most)

    def label_sets(self, rule: SetRule) -> tuple[SetCoverage, LabelSets]:
        """Label sets that are calibrated on the validation scores, and what they hold on the test set.

        Raises:
            DataProblem: there are no validation scores, or scores have no logits.
        """
        test, val = self._own("test"), self._own("val")
        if test is None or val is None:
            raise DataProblem(f"there are no scores of {'val' if test else 'test'}, which label sets need")
        return set_coverage(test, val, self.class_counts, rule, self.evaluation.shots)


def evaluate(
    scores: ScoresLike,
    class_counts: CountsLike | None = None,
    *,
    threshold: float | str | None = None,
    shots: str = "paper",
    val: ScoresLike | None = None,
    own_confidence: bool = False,
) -> Evaluation:
    """All metrics of the saved scores of a run, or of any scores; what ``oltr evaluate`` shows.

    Args:
        scores: a run, by its folder, its name or a part of it; or a file NPZ, its arrays by name, or ``SavedScores``:
            ``labels`` (N,) with −1 = open, and ``logits`` (N, K), or ``prediction`` (N,) and ``confidence`` (N,).
        class_counts: training images of each class (K,), or a file of them; needed unless ``scores`` is a run.
        threshold: τ, or the rule that chooses it; None takes the run's own, and 0.1 for other scores.
        shots: definition of the shot groups, ``paper`` or ``code``.
        val: validation scores of the same form as ``scores``, for the rules that read them; a run has its own.
        own_confidence: of a run, its own confidence although ``oltr tune detector`` chose a detector.

    Raises:
        UsageProblem: no such run, rule or definition, or arguments that do not go together.
        DataProblem: a file is missing or damaged, or arrays do not fit together.
    """
    return examine(
        scores, class_counts, threshold=threshold, shots=shots, val=val, own_confidence=own_confidence
    ).evaluation


def examine(
    scores: ScoresLike,
    class_counts: CountsLike | None = None,
    *,
    threshold: float | str | None = None,
    shots: str = "paper",
    val: ScoresLike | None = None,
    own_confidence: bool = False,
) -> Examination:
    """``evaluate``, and what goes wrong: by class, by pair of classes, and by sample; arguments as for ``evaluate``."""
    shot_groups([], shots)  # refuse a misspelt definition before anything is read
    rule = None if threshold is None else ThresholdRule.parse(str(threshold))
    if isinstance(scores, str | os.PathLike) and not os.fspath(scores).endswith(".npz"):
        if class_counts is not None or val is not None:
            raise UsageProblem("class_counts and val are for scores from elsewhere; a run has both already")
        from oltr_cli.inference.hub_format import refuse_hub_folder
        from oltr_cli.planning.which_run import resolve_run

        refuse_hub_folder(os.fspath(scores))
        return examine_run(resolve_run(os.fspath(scores)), rule, shots, own_confidence)
    if own_confidence:
        raise UsageProblem("own_confidence is for a run; other scores have one confidence")
    if class_counts is None:
        raise UsageProblem("class_counts is missing: the shot groups need the training images of each class")
    return _examine_scores(scores, class_counts, rule or ThresholdRule.parse(PAPER_RULE), shots, val)


def examine_run(run_dir: Path, rule: ThresholdRule | None, shots: str, own_confidence: bool = False) -> Examination:
    """``examine`` for the run in a folder, with the detector that was chosen for it, if one was."""
    result, own = read_result(run_dir), cache(saved_splits(run_dir))
    chosen = None if own_confidence else read_chosen_detector(run_dir)
    if chosen is None:
        read, detector = own, None
        saved = saved_threshold(run_dir, result, rule)
    else:
        from oltr_cli.pipeline.chosen import scores_in_folder

        saved = choice_threshold(run_dir, result, chosen, rule)
        read, detector = cache(scores_in_folder(run_dir, result, chosen)), chosen.name
    evaluated = evaluate_splits(run_dir, result, read, saved, shots, detector)
    logits = _with_logits(run_dir, own)
    return Examination(evaluated, list(result.class_names), list(result.class_counts), read, logits)


def _with_logits(run_dir: Path, own: Splits) -> Splits:
    """``own``, or of a detector's run, which saves no logits, the scores of the run under it."""
    from oltr_cli.planning.registry import PLUS
    from oltr_cli.planning.which_run import parent_of

    run = run_from_path(run_dir.resolve())
    parent = parent_of(run) if run is not None and PLUS in run.method else None
    return own if parent is None else cache(saved_splits(parent.path))


def _examine_scores(
    scores: ScoresLike, class_counts: CountsLike, rule: ThresholdRule, shots: str, val: ScoresLike | None
) -> Examination:
    if rule.name in ("tuned", "own"):
        raise UsageProblem(
            f"threshold {rule.text} is saved with a run; for other scores give a number, id_quantile:Q or val_open"
        )
    if val is None and "val" in rule.splits:
        raise UsageProblem(f"threshold {rule.text} is chosen on validation scores: give val")
    counts = _counts(class_counts)
    where = str(Path(scores).expanduser()) if isinstance(scores, str | os.PathLike) else "scores"
    mixed = _scores(scores, len(counts), "scores")
    validation = None if val is None else _scores(val, len(counts), "val")
    examined = examine_mixed(mixed, counts, rule, shots, where, validation)
    if isinstance(scores, str | os.PathLike):
        examined.evaluation = examined.evaluation.model_copy(update={"file": where})
    return examined


def examine_mixed(
    scores: SavedScores,
    counts: list[int],
    rule: ThresholdRule | ChosenThreshold,
    shots: str,
    where: str,
    val: SavedScores | None = None,
) -> Examination:
    """``examine`` where known and open samples (label −1) are in one array, as in files of scores.

    Args:
        rule: the rule that chooses τ, or τ; ``where``: what the scores are, named in errors.
    """
    parts = dict(zip(("test", "open"), known_and_open(scores), strict=True))
    if not len(parts["test"]):
        raise DataProblem(f"{where}: has no sample of a known class (label 0 … {len(counts) - 1})")
    if val is not None:
        parts |= zip(("val", "open_val"), known_and_open(val), strict=True)
    known, open_, val_known, val_open = (parts.get(split) for split in ("test", "open", "val", "open_val"))
    assert known is not None
    evaluated = evaluate_scores(known, open_, counts, rule, shots, val_known, val_open)
    names = [f"class {label}" for label in range(len(counts))]
    return Examination(evaluated, names, counts, parts.get, parts.get)


def _scores(given: ScoresLike, num_classes: int, name: str) -> SavedScores:
    if isinstance(given, SavedScores):
        given = {key: array for key, array in vars(given).items() if array is not None}
    if isinstance(given, str | os.PathLike):
        return read_scores(Path(given).expanduser(), num_classes)
    if not isinstance(given, Mapping):
        raise UsageProblem(
            f"{name}: {type(given).__name__} is neither a run, a file NPZ, arrays by name nor SavedScores"
        )
    return scores_of_arrays(
        {key: _array(f"{name}['{key}']", value) for key, value in given.items()}, num_classes, Path(name)
    )


def _array(name: str, given: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; a torch tensor of bfloat16, with a gradient
        raise DataProblem(f"{name}: is no array that numpy can read ({first_line(error)})") from None


def _counts(given: CountsLike) -> list[int]:
    if isinstance(given, str | os.PathLike):
        return [int(count) for count in read_class_counts(Path(given).expanduser())]
    counts = _array("class_counts", given)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise DataProblem(f"class_counts: must be whole numbers (K,), 0 or more, not {counts.dtype} {counts.shape}")
    return [int(count) for count in counts]
