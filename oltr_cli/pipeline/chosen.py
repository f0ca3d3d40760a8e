"""A run with the detector that ``oltr tune detector`` chose for it: its scores, its τ and its evaluation.

The choice is in detector.json. Scores of the detector are computed from those of the run whenever they are needed, so
they can never be those of another choice.
"""

from collections.abc import Callable
from pathlib import Path

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.pipeline.rescoring import Rescoring
from oltr_cli.planning.detectors import load_chosen
from oltr_cli.protocol.evaluate import Evaluation, evaluate_scores, validation_of
from oltr_cli.protocol.open_sets import scored_sets
from oltr_cli.protocol.saved_thresholds import choice_threshold
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.choices import ChosenDetector
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.runs.result import RunResult, read_result
from oltr_cli.runs.scores import SavedScores


def scores_by_choice(run: Run, result: RunResult, chosen: ChosenDetector) -> Callable[[str], SavedScores | None]:
    """A function of a split: its scores with the chosen detector's confidence; None if the split was not saved.

    Raises:
        OltrError: the detector cannot be fitted; see ``Rescoring.fitted``.
    """
    load_chosen(run.name, chosen.name)  # says what to do if it is not there
    rescoring = Rescoring(run, result)
    detector = rescoring.fitted(chosen.name, chosen.params)

    def judged(split: str) -> SavedScores | None:
        return detector.score(rescoring.split(split)) if rescoring.has(split) else None

    return judged


def evaluate_chosen(
    run_dir: Path, chosen: ChosenDetector, rule: ThresholdRule | None = None, shots: str = "paper"
) -> Evaluation:
    """``evaluate_run`` with the detector that was chosen for the run.

    Raises:
        DataProblem, UsageProblem: as ``evaluate_run``; or the detector cannot be fitted.
    """
    result, run = read_result(run_dir), run_from_path(run_dir.resolve())
    if run is None:
        raise UsageProblem(f"{run_dir} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
    saved = choice_threshold(run_dir, result, chosen, rule)
    read = scores_by_choice(run, result, chosen)
    val, open_val = (read(split) if split in validation_of(saved) else None for split in ("val", "open_val"))
    known = read("test")
    if known is None:
        raise DataProblem(f"{run.scores('test')}: no such file")
    sets = {split: scores for split in scored_sets(run_dir) if (scores := read(split)) is not None}
    evaluated = evaluate_scores(known, read("open"), result.class_counts, saved, shots, val, open_val, sets)
    return evaluated.of_run(run.name, result, chosen.name)
