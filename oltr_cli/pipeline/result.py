"""The result of a finished run, made from its saved scores."""

from typing import Any

from oltr_cli.data.feed.opening import OpenedDataset
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.evaluate import evaluate_scores
from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
from oltr_cli.runs.result import DetectorFacts, RunResult, ThresholdOutcome
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.task import Progress

SPLITS = ("val", "test", "open", "open_val")
OTHER_RULES = ("id_quantile:0.95", "val_open")  # chosen without the test set


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
    scores = {name: SavedScores.load(p.run.scores(name)) for name in SPLITS if name in dataset.splits}
    known, open_ = scores["test"], scores.get("open")
    val, open_val = scores["val"], scores.get("open_val")
    own = ThresholdRule.parse(getattr(p.cls, "threshold_rule", PAPER_RULE))
    main = evaluate_scores(known, open_, dataset.class_counts, own, "paper", val, open_val)
    others = {}
    for rule in map(ThresholdRule.parse, OTHER_RULES):
        if rule != own and all(split in scores for split in rule.splits):
            other = evaluate_scores(known, open_, dataset.class_counts, rule, "paper", val, open_val)
            others[rule.text] = ThresholdOutcome(**other.threshold.as_json(), metrics=other.metrics)
    parent = p.parent.result() if p.parent else None
    seconds = sum(row["seconds"] for row in progress.history)
    train = dataset.splits["train"]
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
        undecodable=[train.names[i] for i in progress.failed],
        class_counts=dataset.class_counts.tolist(),
        class_names=dataset.class_names,
        data_digest=dataset.digest,
        detector=detector,
        identification=identification["counts"] if identification else None,
    )
