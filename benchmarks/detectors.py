"""All detectors that work from saved scores, at ImageNet-LT's size: seconds to fit and score, their sum, peak memory.

python benchmarks/detectors.py    50,000 training samples of 1,000 classes, long-tailed, and 68,000 test samples

A repetition takes about 80 seconds of processor time, more than half of it for KNN.
"""

import _measure  # before numpy and torch

# isort: split
from functools import partial

import numpy as np

from oltr_cli.data.longtail import pareto_counts
from oltr_cli.detector import DetectorSetup, LinearHead, NetworkDetector
from oltr_cli.planning.detectors import FitSources, fit_detector
from oltr_cli.planning.registry import list_methods, load_detector
from oltr_cli.runs.scores import SavedScores, max_softmax

LIMIT_S, LIMIT_MB = 60, 4096  # what all of them may take on two cores


def samples(labels: np.ndarray, weight: np.ndarray, seed: int) -> SavedScores:
    """Features (N, D) ≥ 0 around class means, and logits (N, K) of a linear classifier along the means."""
    means = weight * weight.shape[1] ** 0.5
    features = np.random.default_rng(seed).standard_normal((len(labels), weight.shape[1]), np.float32)
    features += means[labels]
    np.maximum(features, 0, out=features)
    logits = features @ weight.T
    return SavedScores(*max_softmax(logits), labels, logits, features)


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    _measure.set_threads()
    n_train, n_test, classes, dim = (300, 200, 20, 16) if options.quick else (50_000, 68_000, 1000, 512)
    counts = pareto_counts(classes)
    counts = np.maximum(1, counts * n_train // counts.sum())
    counts[0] += n_train - counts.sum()
    weight = np.random.default_rng(99).standard_normal((classes, dim), np.float32) / dim**0.5
    train = samples(np.repeat(np.arange(classes), counts), weight, 0)
    val = samples(np.repeat(np.arange(classes), 20), weight, 3)
    test = samples(np.random.default_rng(2).integers(classes, size=n_test), weight, 1)
    head = LinearHead(weight.astype(np.float64), np.zeros(classes))
    sources = FitSources(lambda: train, lambda: val, lambda: head)
    forms = {}
    for name, info in list_methods().items():
        if info.kind != "detector" or info.origin != "built-in":
            continue
        cls = load_detector(name)
        if issubclass(cls, NetworkDetector):
            continue
        detector = cls(DetectorSetup(tuple(counts.tolist()), (0.25, 0.25, 0.25), cls.Params()))
        forms[f"{name}, fit"] = partial(fit_detector, detector, sources)
        forms[f"{name}, score"] = partial(detector.score, test)
    median = _measure.medians(forms, options.repetitions)
    total, peak = sum(median.values()), _measure.peak_mb()
    sizes = {"training samples": n_train, "test samples": n_test, "classes": classes, "dimensions": dim}
    more = {
        "total s": round(total, 2),
        "peak MB": round(peak),
        f"below {LIMIT_S} s and {LIMIT_MB} MB": total < LIMIT_S and peak < LIMIT_MB,
    }
    _measure.report(options, "detectors", sizes, median, {}, **more)


if __name__ == "__main__":
    main()
