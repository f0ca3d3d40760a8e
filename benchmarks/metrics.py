"""How much faster the metrics are than the same definitions in plain loops.

    python benchmarks/metrics.py [--samples 70000] [--classes 1000] [--naive-samples 2000]

Both are given the same predictions and confidences. The loops form five of the numbers that ``all_metrics`` returns, on
fewer samples: AUROC by pairs and OSCR by thresholds are quadratic in them.
"""

import _measure  # before numpy and torch

# isort: split
from functools import partial

import numpy as np

from oltr_cli.protocol.best_threshold import best_f_measure
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.runs.scores import SavedScores, max_softmax


def make_scores(samples: int, classes: int, rng: np.random.Generator) -> tuple[SavedScores, SavedScores, np.ndarray]:
    """Known and open scores (3 : 1) and the logits (samples, classes) that they are from."""
    labels = rng.integers(classes, size=samples)
    is_open = rng.random(samples) < 0.25
    logits = rng.standard_normal((samples, classes), dtype=np.float32)
    logits[np.arange(samples), labels] += np.where(is_open, 0.0, 4.0)
    prediction, confidence = max_softmax(logits)
    known = SavedScores(prediction[~is_open], confidence[~is_open], labels[~is_open])
    return known, SavedScores(prediction[is_open], confidence[is_open], np.full(int(is_open.sum()), -1)), logits


def naive(known: SavedScores, open_: SavedScores, classes: int, tau: float) -> dict[str, float]:
    """Accuracy, mean accuracy by class, F-measure, AUROC and OSCR, a loop a definition."""
    rows = list(zip(known.labels.tolist(), known.prediction.tolist(), known.confidence.tolist(), strict=True))
    open_confidence = open_.confidence.tolist()
    right = sum(y == p and c >= tau for y, p, c in rows)
    kept_open = sum(c >= tau for c in open_confidence)
    by_class = []
    for label in range(classes):
        mine = [p == y and c >= tau for y, p, c in rows if y == label]
        if mine:
            by_class.append(sum(mine) / len(mine))
    pairs = sum((c > o) + 0.5 * (c == o) for _, _, c in rows for o in open_confidence)
    oscr, before = 0.0, (0.0, 0.0)
    for cut in sorted({*(c for _, _, c in rows), *open_confidence}, reverse=True):
        rate = sum(o >= cut for o in open_confidence) / len(open_confidence)
        correct = sum(y == p and c >= cut for y, p, c in rows) / len(rows)
        oscr += (rate - before[0]) * (correct + before[1]) / 2
        before = (rate, correct)
    return {
        "open/overall": right / len(rows),
        "open/many": sum(by_class) / len(by_class),
        "open/f_measure": 2 * right / (right + len(rows) + kept_open),
        "open/auroc": pairs / (len(rows) * len(open_confidence)),
        "open/oscr": oscr,
    }


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--samples", type=int, default=70_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--naive-samples", type=int, default=2000)
    options = parser.parse_args()
    _measure.set_threads()
    samples, classes, few = options.samples, options.classes, options.naive_samples
    if options.quick:
        samples, classes, few = 200, 10, 60
    rng = np.random.default_rng(0)
    counts, tau = [200] * classes, 0.1
    known, open_, logits = make_scores(samples, classes, rng)
    few_known, few_open, _ = make_scores(few, classes, rng)
    forms = {
        "prediction and confidence from logits": partial(max_softmax, logits),
        "all_metrics": partial(all_metrics, known, open_, counts, tau),
        "best_f_measure, over all thresholds": partial(best_f_measure, known, open_),
        f"all_metrics, {few:,} samples": partial(all_metrics, few_known, few_open, counts, tau),
        f"loops, {few:,} samples": partial(naive, few_known, few_open, classes, tau),
    }
    found = all_metrics(few_known, few_open, counts, tau)
    expected = naive(few_known, few_open, classes, tau)
    for name, value in expected.items():
        if not np.isclose(found[name], value, rtol=0, atol=1e-9):
            raise SystemExit(f"{name}: {found[name]} is not the loop's {value}")
    median = _measure.medians(forms, options.repetitions)
    slow, fast = median[f"loops, {few:,} samples"], median[f"all_metrics, {few:,} samples"]
    ratio = {f"loops for {len(expected)} of {len(found)} numbers / all_metrics": slow / fast}
    sizes = {"samples": samples, "classes": classes, "samples beside the loops": few}
    _measure.report(options, "metrics", sizes, median, ratio)


if __name__ == "__main__":
    main()
