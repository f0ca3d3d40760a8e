"""Scores of a linear classifier on Gaussian classes, for tests of detectors that need the classifier or validation."""

import numpy as np
from scipy.special import softmax

from oltr_cli.detector import Detector, DetectorSetup, LinearHead
from oltr_cli.planning.detectors import FitSources, fit_detector
from oltr_cli.planning.registry import load_detector
from oltr_cli.runs.scores import SavedScores

COUNTS, DIM = (120, 60, 20, 9, 2, 1), 12


def head(classes: int = len(COUNTS), dim: int = DIM) -> LinearHead:
    rng = np.random.default_rng(7)
    return LinearHead(rng.normal(size=(classes, dim)) / dim**0.5, rng.normal(size=classes))


def scores_of(features, labels, dtype=np.float32) -> SavedScores:
    """Scores of the classifier ``head`` for features (N, D)."""
    labels, features = np.asarray(labels, np.int64), np.asarray(features, dtype)
    logits = head(int(max(labels.max() + 1, len(COUNTS))), features.shape[1]).logits(features).astype(dtype)
    confidence = softmax(logits.astype(np.float64), axis=1).max(1).astype(np.float32)
    return SavedScores(logits.argmax(1), confidence, labels, logits, features, labels.astype(np.str_))


def samples(counts=COUNTS, seed=0, spread=1.0, dim=DIM, dtype=np.float32) -> SavedScores:
    """``counts`` samples of each class, with features ≥ 0 around means that are the same for every seed."""
    means = np.random.default_rng(99).normal(1, 2, (len(counts), dim))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    features = means[labels] + spread * np.linspace(0.2, 2, dim) * rng.normal(size=(len(labels), dim))
    return scores_of(np.maximum(features, 0), labels, dtype)


def build(name: str, counts=COUNTS, **params) -> Detector:
    cls = load_detector(name)
    return cls(DetectorSetup(tuple(counts), (0.25, 0.25, 0.25), cls.Params(**params)))


def fitted(name: str, train: SavedScores, val: SavedScores | None = None, counts=COUNTS, **params) -> Detector:
    """The detector, fitted as a run fits it; ``val`` is ``train`` unless it is given."""
    detector = build(name, counts, **params)
    size = (train.logits.shape[1], train.features.shape[1])
    fit_detector(detector, FitSources(lambda: train, lambda: train if val is None else val, lambda: head(*size)))
    return detector
