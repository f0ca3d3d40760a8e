"""The τ that is saved with a finished run: its own, a tuned one, or that of the detector that was chosen for it."""

import shlex
from pathlib import Path

from oltr_cli.base.added_files import given_files
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.thresholds import QUANTILE_RULE, ThresholdRule
from oltr_cli.runs.choices import CHOSEN, TUNED, ChosenDetector, ChosenThreshold, read_tuned
from oltr_cli.runs.result import RESULT, RunResult


def saved_threshold(run_dir: Path, result: RunResult, rule: ThresholdRule | None) -> ChosenThreshold | ThresholdRule:
    """τ of a finished run if ``rule`` means one that is saved with it, else ``rule`` itself.

    Args:
        rule: None takes ``default_threshold``.

    Raises:
        UsageProblem: the rule is ``tuned``, and none was saved.
        DataProblem: threshold.json is to be read and is damaged.
    """
    if rule is None:
        return default_threshold(run_dir, result)
    if rule.name == "own":
        return _fitting(result.threshold, result, run_dir / RESULT)
    if rule.name != "tuned":
        return rule
    tuned = read_tuned(run_dir)
    if tuned is None:
        how = "" if (run_dir / "scores" / "open_val.npz").exists() else f" --rule {QUANTILE_RULE}"
        raise UsageProblem(
            f"{result.run}: no tuned threshold is saved; choose one with: oltr tune threshold --run "
            f"{shlex.quote(result.run)}{how}{given_files()}"
        )
    return _fitting(tuned.chosen, result, run_dir / TUNED)


def choice_threshold(
    run_dir: Path, result: RunResult, chosen: ChosenDetector, rule: ThresholdRule | None
) -> ChosenThreshold | ThresholdRule:
    """``saved_threshold`` for the detector that was chosen for the run: never a τ of another confidence.

    Raises:
        UsageProblem: the rule is ``tuned``, and no τ was tuned for this detector.
    """
    run, file = result.run, run_dir / CHOSEN
    if rule is None:
        return _fitting(chosen.default_threshold, result, file)
    if rule.name == "own":
        return _fitting(chosen.threshold, result, file)
    if rule.name != "tuned":
        return rule
    if chosen.tuned is None:
        raise UsageProblem(
            f"{run}: no threshold was tuned for the confidence of {chosen.name}; choose one with: oltr tune threshold "
            f"--run {shlex.quote(run)}{given_files()}"
        )
    return _fitting(chosen.tuned.chosen, result, file)


def default_threshold(run_dir: Path, result: RunResult) -> ChosenThreshold:
    """τ of a finished run when nobody says which: the tuned one once there is one, the run's own before.

    Raises:
        DataProblem: threshold.json is damaged.
    """
    tuned = read_tuned(run_dir)
    if tuned:
        return _fitting(tuned.chosen, result, run_dir / TUNED)
    return _fitting(result.threshold, result, run_dir / RESULT)


def _fitting(chosen: ChosenThreshold, result: RunResult, file: Path) -> ChosenThreshold:
    """``chosen``, whose thresholds by class must be as many as the run's classes."""
    classes = len(result.class_counts)
    if chosen.by_class is not None and len(chosen.by_class) != classes:
        raise DataProblem(
            f"{file}: has thresholds for {counted(len(chosen.by_class), 'class')}, and the run has {classes}"
        )
    return chosen
