"""How much faster the metrics are than the same definitions in plain loops, measured in one run.

    python benchmarks/metrics.py [--samples 70000] [--classes 1000] [--naive-samples 2000]

Both are given the same predictions and confidences. The loops form five of the numbers that ``all_metrics`` returns, on
fewer samples: AUROC by pairs and OSCR by thresholds are quadratic in them.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.protocol.thresholds import best_f_measure
from oltr_cli.runs.scores import SavedScores, max_softmax


def make_scores(samples: int, classes: int, rng: np.random.Generator) -> tuple[SavedScores, SavedScores, float]:
    """Known and open scores (3 : 1) from logits (samples, classes), and the seconds that the softmax took."""
    labels = rng.integers(classes, size=samples)
    is_open = rng.random(samples) < 0.25
    logits = rng.standard_normal((samples, classes), dtype=np.float32)
    logits[np.arange(samples), labels] += np.where(is_open, 0.0, 4.0)
    began = time.perf_counter()
    prediction, confidence = max_softmax(logits)
    seconds = time.perf_counter() - began
    known = SavedScores(prediction[~is_open], confidence[~is_open], labels[~is_open])
    return known, SavedScores(prediction[is_open], confidence[is_open], np.full(int(is_open.sum()), -1)), seconds


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


def seconds_of(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of a few timings."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=70_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--naive-samples", type=int, default=2000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    counts, tau = [200] * options.classes, 0.1

    known, open_, softmax = make_scores(options.samples, options.classes, rng)
    ours = seconds_of(lambda: all_metrics(known, open_, counts, tau))
    best = seconds_of(lambda: best_f_measure(known, open_))
    print(f"{options.samples:,} samples × {options.classes:,} classes")
    print(f"  prediction and confidence from logits  {1000 * softmax:9.1f} ms")
    print(f"  all_metrics                            {1000 * ours:9.1f} ms")
    print(f"  best_f_measure, over all thresholds    {1000 * best:9.1f} ms")

    known, open_, _ = make_scores(options.naive_samples, options.classes, rng)
    few = seconds_of(lambda: all_metrics(known, open_, counts, tau))
    began = time.perf_counter()
    expected = naive(known, open_, options.classes, tau)
    slow = time.perf_counter() - began
    found = all_metrics(known, open_, counts, tau)
    for name, value in expected.items():
        if not np.isclose(found[name], value, rtol=0, atol=1e-9):
            raise SystemExit(f"{name}: {found[name]} is not the loop's {value}")
    print(f"{options.naive_samples:,} samples × {options.classes:,} classes, equal results")
    print(f"  all_metrics                            {1000 * few:9.1f} ms")
    print(f"  loops, {len(expected)} of its {len(found)} numbers             {1000 * slow:9.1f} ms")
    print(f"  ratio                                  {slow / few:9.0f} ×, growing with the number of samples")


if __name__ == "__main__":
    main()
