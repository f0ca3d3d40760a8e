"""A run with the detector that ``oltr tune detector`` chose for it: its scores.

The choice is in detector.json. Scores of the detector are computed from those of the run whenever they are needed, so
they can never be those of another choice.
"""

from pathlib import Path

from oltr_cli.errors import UsageProblem
from oltr_cli.pipeline.rescoring import Rescoring
from oltr_cli.planning.detectors import load_chosen
from oltr_cli.protocol.evaluate import Splits
from oltr_cli.runs.choices import ChosenDetector
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.runs.result import RunResult
from oltr_cli.runs.scores import SavedScores


def scores_by_choice(run: Run, result: RunResult, chosen: ChosenDetector) -> Splits:
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


def scores_in_folder(run_dir: Path, result: RunResult, chosen: ChosenDetector) -> Splits:
    """``scores_by_choice`` of the run in a folder.

    Raises:
        UsageProblem: it is not a run's folder.
    """
    run = run_from_path(run_dir.resolve())
    if run is None:
        raise UsageProblem(f"{run_dir} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
    return scores_by_choice(run, result, chosen)
