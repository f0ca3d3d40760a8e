"""OpenMax, fit and score, against libmr a class and a Python loop over samples: processor time, same numbers.

python benchmarks/detectors.py            1,000 classes, both forms, and the ratio
python benchmarks/detectors.py --large    ImageNet-LT's size: 115,000 training and 50,000 test samples, every detector
"""

import argparse
import math
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import libmr
import numpy as np

from oltr_cli.detector import Detector, DetectorSetup
from oltr_cli.methods.energy import Energy
from oltr_cli.methods.knn import KNN
from oltr_cli.methods.mahalanobis import Mahalanobis
from oltr_cli.methods.maxlogit import MaxLogit
from oltr_cli.methods.msp import MSP
from oltr_cli.methods.openmax import OpenMax
from oltr_cli.methods.vim import ViM
from oltr_cli.runs.scores import SavedScores, max_softmax

CLASSES, DIM = 1000, 512


def samples(n: int, seed: int) -> SavedScores:
    """n samples of a linear classifier, all logits ≥ 0 (the naive form knows no others), all of them right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    features = rng.standard_normal((n, DIM), np.float32)
    logits = np.abs(rng.standard_normal((n, CLASSES), np.float32))
    logits[np.arange(n), labels] += 20 + 20 * rng.random(n, np.float32)
    return SavedScores(*max_softmax(logits), labels, logits, features)


def build(cls: type[Detector]) -> Detector:
    """The detector with its defaults."""
    return cls(DetectorSetup((1,) * CLASSES, (0.25, 0.25, 0.25), cls.Params()))


def distance(v: np.ndarray, mean: np.ndarray) -> float:
    """Eucos of two vectors."""
    cosine = (v @ mean) / math.sqrt((v @ v) * (mean @ mean))
    return math.sqrt(((v - mean) ** 2).sum()) / 200 + 1 - cosine


def naive_fit(train: SavedScores, tail: int = 20) -> tuple[list[np.ndarray], list[libmr.MR]]:
    """Means and Weibull models, class by class and sample by sample."""
    assert train.logits is not None
    means, models = [], []
    for c in range(CLASSES):
        right = train.logits[(train.labels == c) & (train.prediction == c)].astype(np.float64)
        means.append(right.mean(0))
        models.append(libmr.MR())
        largest = np.sort([distance(v, means[c]) for v in right])[-tail:]
        models[c].fit_high(largest, len(largest))
    return means, models


def naive_score(test: SavedScores, means: list[np.ndarray], models: list[libmr.MR], alpha: int = 10) -> np.ndarray:
    """Probabilities of the K + 1 classes, sample by sample."""
    assert test.logits is not None
    probabilities = np.empty((len(test), CLASSES + 1))
    for n, v in enumerate(test.logits.astype(np.float64)):
        revised, unknown = v.copy(), 0.0
        for i, c in enumerate(np.argsort(v)[::-1][:alpha]):
            moved = v[c] * models[c].w_score(distance(v, means[c])) * (alpha - i) / alpha
            revised[c] -= moved
            unknown += moved
        e = np.exp([*revised, unknown])
        probabilities[n] = e / e.sum()
    return probabilities


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of one call, which other programs do not lengthen much, and its result."""
    start = time.process_time()
    result = step()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    if parser.parse_args().large:
        train, test = samples(115_000, 0), samples(50_000, 1)
        print(f"{len(train):,} training and {len(test):,} test samples, {CLASSES:,} logits and {DIM} features each")
        for cls in (MSP, MaxLogit, Energy, OpenMax, Mahalanobis, ViM, KNN):
            detector = build(cls)
            fitting, _ = timed(partial(detector.fit, train))
            scoring, _ = timed(partial(detector.score, test))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {cls.__name__:12} fit {fitting:7.2f} s   score {scoring:7.2f} s   peak so far {peak:,.0f} MB")
        return
    train, test = samples(20_000, 0), samples(2_000, 1)
    detector = build(OpenMax)
    fit = min(timed(lambda: detector.fit(train))[0] for _ in range(3))
    score = min(timed(lambda: detector.score(test))[0] for _ in range(3))
    scored = detector.score(test)
    slow_fit, (means, models) = timed(lambda: naive_fit(train))
    slow_score, probabilities = timed(lambda: naive_score(test, means, models))
    known, unknown = probabilities[:, :-1].max(1), probabilities[:, -1]
    accepted = known >= unknown
    gap = np.abs(scored.confidence[accepted] - known[accepted]).max(initial=0)
    assert ((scored.confidence > 0) == accepted).all()
    print(f"{CLASSES:,} classes, {len(train):,} training and {len(test):,} test samples, {detector.report()['fit']}")
    print(f"  blocks of samples    fit {fit:6.2f} s   score {score:6.2f} s")
    print(f"  one at a time        fit {slow_fit:6.2f} s   score {slow_score:6.2f} s")
    print(f"  ratio                {(slow_fit + slow_score) / (fit + score):8.1f} ×")
    print(f"  {accepted.sum():,} accepted by both, confidences at most {gap:.1e} apart")


if __name__ == "__main__":
    main()
