"""The result of a finished run, made from its saved scores."""

from collections.abc import Iterable, Mapping
from typing import Any

from oltr_cli.data.feed.opening import OpenedDataset
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.by_group import set_metrics
from oltr_cli.protocol.evaluate import Evaluation, evaluate_scores
from oltr_cli.protocol.metrics import Threshold
from oltr_cli.protocol.open_sets import OUTLIERS, is_open_set
from oltr_cli.protocol.shots import ClassCounts
from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
from oltr_cli.runs.result import DetectorFacts, RunResult, ThresholdOutcome
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.task import Progress

SPLITS = ("val", "test", "open", "open_val")  # and further open sets
OTHER_RULES = ("id_quantile:0.95", "val_open")  # chosen without the test set


def scored_splits(dataset: OpenedDataset) -> list[str]:
    """The splits that a run is scored on."""
    return [split for split in (*SPLITS, *filter(is_open_set, dataset.splits)) if split in dataset.splits]


def evaluated(
    scores: Mapping[str, SavedScores], class_counts: ClassCounts, own: ThresholdRule
) -> tuple[Evaluation, dict[str, ThresholdOutcome]]:
    """Metrics of a run from its scores by split, by its own rule and by each other one that needs no test data."""
    sets = {name: one for name, one in scores.items() if is_open_set(name)}

    def at(rule: ThresholdRule) -> Evaluation:
        splits = (scores.get("val"), scores.get("open_val"), sets)
        return evaluate_scores(scores["test"], scores.get("open"), class_counts, rule, "paper", *splits)

    others = {}
    for rule in map(ThresholdRule.parse, OTHER_RULES):
        if rule != own and all(split in scores for split in rule.splits):
            other = at(rule)
            others[rule.text] = ThresholdOutcome(**other.threshold.as_json(), metrics=other.metrics)
    return at(own), others


def make_result(
    p: Planned,
    progress: Progress,
    dataset: OpenedDataset,
    device: str,
    detector: DetectorFacts | None = None,
    identification: dict[str, Any] | None = None,
) -> RunResult:
    """The result of a finished run; metrics from the saved scores, for each rule that needs no test data.

    Args:
        detector: facts about the detector, if the run has one.
        identification: the result of ``oltr_cli.protocol.identification``, if the dataset has probes.
    """
    scores = {name: SavedScores.load(p.run.scores(name)) for name in scored_splits(dataset)}
    sets = [name for name in scores if is_open_set(name)]
    own = ThresholdRule.parse(getattr(p.cls, "threshold_rule", PAPER_RULE))
    main, others = evaluated(scores, dataset.class_counts, own)
    parent = p.parent.result() if p.parent else None
    seconds = sum(row["seconds"] for row in progress.history)
    uses_outliers = p.about.uses_outliers
    trained = [*dataset.splits["train"].names, *(dataset.splits[OUTLIERS].names if uses_outliers else ())]
    further = {split: dataset.further[split] for split in sets} | (
        {OUTLIERS: dataset.further[OUTLIERS]} if uses_outliers else {}
    )
    return RunResult(
        **p.run.identity,
        threshold=main.threshold,
        metrics={**main.metrics, **(identification["metrics"] if identification else {})},
        other_thresholds=others,
        best_epoch=progress.best_epoch,
        best_validation=progress.best_value if progress.best_value >= 0 else None,
        epochs=len(progress.history),
        epochs_total=len(progress.history) + ((parent.epochs_total or 0) if parent else 0),
        seconds=seconds,
        seconds_total=seconds + ((parent.seconds_total or 0.0) if parent else 0.0),
        device=device,
        starts_from=p.parent.name if p.parent else None,
        undecodable=[trained[i] for i in progress.failed],
        class_counts=dataset.class_counts.tolist(),
        class_names=dataset.class_names,
        data_digest=dataset.digest,
        further_lists=further or None,
        detector=detector,
        identification=identification["counts"] if identification else None,
    )


def with_sets(p: Planned, result: RunResult, dataset: OpenedDataset, splits: Iterable[str]) -> RunResult:
    """The result of a finished run with the metrics of further open sets, whose scores were saved since."""
    known = SavedScores.load(p.run.scores("test"))
    sets = {split: SavedScores.load(p.run.scores(split)) for split in splits}

    def at(tau: Threshold) -> dict[str, float | None]:
        return set_metrics(known, sets, result.class_counts, tau, result.shots)

    others = {
        rule: other.model_copy(update={"metrics": other.metrics | at(other.tau)})
        for rule, other in result.other_thresholds.items()
    }
    return result.model_copy(
        update={
            "metrics": result.metrics | at(result.threshold.tau),
            "other_thresholds": others,
            "further_lists": (result.further_lists or {}) | {split: dataset.further[split] for split in sets},
        }
    )
