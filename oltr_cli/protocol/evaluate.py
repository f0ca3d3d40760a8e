"""Evaluate saved scores, of a run or from anywhere, by the same protocol."""

from collections.abc import Callable, Mapping
from pathlib import Path

from oltr_cli.errors import DataProblem
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.catalogue import IDENTIFICATION
from oltr_cli.protocol.open_sets import is_open, scored_sets
from oltr_cli.protocol.saved_thresholds import default_threshold, saved_threshold
from oltr_cli.protocol.score_files import check_scores
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.protocol.thresholds import ThresholdRule, choose, open_accepted
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.records import Record
from oltr_cli.runs.result import IdentificationCounts, Metrics, RunResult, read_result
from oltr_cli.runs.scores import SavedScores

Splits = Callable[[str], SavedScores | None]  # the scores of a split, None if there are none


class Evaluation(Record):
    """All metrics at one τ, and what was evaluated.

    Attributes:
        run, file: the name of the run, or the file of the scores, if any.
        detector: whose confidence it is, if one was chosen for the run.
        counts: numbers of ``known`` and ``open`` samples, of samples of each further open set, and of ``classes``:
            ``many``, ``medium`` and ``few``.
        identification: for a run whose dataset has probes.
        open_val_accepted: of a τ by class, see ``open_accepted``.
    """

    ABSENT = frozenset({"run", "file", "detector", "counts", "identification", "open_val_accepted"})

    run: str | None = None
    file: str | None = None
    detector: str | None = None
    threshold: ChosenThreshold
    shots: str
    counts: dict[str, int] | None = None
    metrics: Metrics
    identification: IdentificationCounts | None = None
    open_val_accepted: dict[str, float] | None = None

    @classmethod
    def of(cls, result: RunResult) -> "Evaluation":
        """The evaluation saved in a run's result."""
        return cls(
            run=result.run,
            threshold=result.threshold,
            shots=result.shots,
            metrics=result.metrics,
            identification=result.identification,
        )

    def of_run(self, name: str, result: RunResult, detector: str | None = None) -> "Evaluation":
        """The same with the name of the run, and its identification rates, which depend on neither τ nor detector."""
        own = {metric: value for metric, value in result.metrics.items() if metric.startswith(IDENTIFICATION)}
        return self.model_copy(
            update={
                "run": name,
                "detector": detector,
                "metrics": self.metrics | own,
                "identification": result.identification,
            }
        )


def evaluate_scores(
    known: SavedScores,
    open_: SavedScores | None,
    class_counts: ClassCounts,
    rule: ThresholdRule | ChosenThreshold,
    shots: str = "paper",
    val: SavedScores | None = None,
    open_val: SavedScores | None = None,
    sets: Mapping[str, SavedScores] | None = None,
) -> Evaluation:
    """All metrics of one test set at one τ.

    Args:
        known: test samples of known classes; ``open_``: open test samples, if there are any.
        class_counts: training images of each class (K,).
        rule: how to choose τ, or a τ chosen before.
        val, open_val: known and open validation samples, for the rules that read them.
        sets: samples of further open sets, by split; no rule reads them.

    Raises:
        DataProblem: labels or predictions out of range, or a missing split that the rule reads.
        UsageProblem: unknown definition of the shot groups, or the rule is ``tuned`` or ``own``.
    """
    groups = shot_groups(class_counts, shots)
    num_classes, sets = len(class_counts), sets or {}
    for where, scores in {"test": known, "open": open_, "val": val, "open_val": open_val, **sets}.items():
        if scores is not None:
            check_scores(scores, num_classes, f"scores of {where}", -1 if is_open(where) else 0)
    if isinstance(rule, ThresholdRule):
        rule = choose(rule, class_counts, shots, val=val, open_val=open_val, test=known, open_test=open_)
    return Evaluation(
        threshold=rule,
        shots=shots,
        counts={
            "known": len(known),
            "open": 0 if open_ is None else len(open_),
            **{split: len(scores) for split, scores in sets.items()},
            "classes": num_classes,
            **{name: int(mask.sum()) for name, mask in groups.items()},
        },
        metrics=every_metric(known, open_, class_counts, rule.tau, shots, sets),
        open_val_accepted=open_accepted(open_val, rule),
    )


def evaluate_run(run_dir: Path, rule: ThresholdRule | None = None, shots: str = "paper") -> Evaluation:
    """``evaluate_scores`` for a finished run, from its saved scores alone.

    Identification rates, which depend on neither τ nor shot groups, are copied from the run's result.

    Args:
        rule: None takes ``default_threshold``.

    Raises:
        DataProblem: the run is not finished, or needed scores are missing or broken.
        UsageProblem: see ``evaluate_scores``; or no threshold was tuned for the run.
    """
    result = read_result(run_dir)
    return evaluate_splits(run_dir, result, saved_splits(run_dir), saved_threshold(run_dir, result, rule), shots)


def saved_splits(run_dir: Path) -> Splits:
    """A function of a split: its scores as the run saved them, None if it saved none."""

    def read(split: str) -> SavedScores | None:
        file = run_dir / "scores" / f"{split}.npz"
        return SavedScores.load(file) if file.exists() else None

    return read


def evaluate_splits(
    run_dir: Path,
    result: RunResult,
    read: Splits,
    chosen: ThresholdRule | ChosenThreshold,
    shots: str = "paper",
    detector: str | None = None,
) -> Evaluation:
    """``evaluate_scores`` of the splits of a run that ``read`` gives; each is read once.

    Args:
        detector: whose confidence it is, if it is not the run's own.
    """
    known = read("test")
    if known is None:
        raise DataProblem(f"{run_dir / 'scores' / 'test.npz'}: no such file")
    val, open_val = (read(split) if split in _validation_of(chosen) else None for split in ("val", "open_val"))
    sets = {split: scores for split in scored_sets(run_dir) if (scores := read(split)) is not None}
    evaluated = evaluate_scores(known, read("open"), result.class_counts, chosen, shots, val, open_val, sets)
    return evaluated.of_run("/".join(run_dir.absolute().parts[-3:]), result, detector)


def _validation_of(chosen: ThresholdRule | ChosenThreshold) -> tuple[str, ...]:
    """The validation splits to read: those of the rule, and open_val to see what a τ by class costs."""
    splits = chosen.splits if isinstance(chosen, ThresholdRule) else ()
    return (*splits, *(("open_val",) if chosen.by_class else ()))


def evaluation_of(
    run_dir: Path, result: RunResult, rule: ThresholdRule | None = None, shots: str = "paper"
) -> Evaluation:
    """``evaluate_run`` for a run whose ``result`` is loaded: scores are read only if it lacks what is requested."""
    if rule is None:
        wanted = default_threshold(run_dir, result).rule
    else:
        wanted = result.threshold.rule if rule.name == "own" else rule.text
    is_whole = "closed/ece" in result.metrics  # results of earlier versions lack newer metrics
    if wanted == result.threshold.rule and shots == result.shots and (is_whole or not _has_scores(run_dir)):
        return Evaluation.of(result)
    return evaluate_run(run_dir, rule, shots)


def _has_scores(run_dir: Path) -> bool:
    return (run_dir / "scores" / "test.npz").exists()
