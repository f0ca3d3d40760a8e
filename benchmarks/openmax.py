"""OpenMax against libmr a class and a Python loop over samples, and against pytorch-ood if it is installed.

The results are compared too: those of the loop must be the same, pytorch-ood computes another distance.

python benchmarks/openmax.py            1,000 classes
python benchmarks/openmax.py --large    50,000 training and 50,000 test samples, without the loop and pytorch-ood
"""

import _measure  # before numpy and torch

# isort: split
import math
import sys
import time
from functools import partial

import numpy as np

from oltr_cli.detector import DetectorSetup
from oltr_cli.methods.openmax import OpenMax
from oltr_cli.runs.scores import SavedScores, max_softmax

try:
    import libmr
except ImportError:
    sys.exit("this benchmark needs libmr; to install it: make environment")


def samples(n: int, classes: int, seed: int) -> SavedScores:
    """n samples with logits ≥ 0 (the naive form knows no others), all of them right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    logits = np.abs(rng.standard_normal((n, classes), np.float32))
    logits[np.arange(n), labels] += 20 + 20 * rng.random(n, np.float32)
    return SavedScores(*max_softmax(logits), labels, logits)


def distance(v: np.ndarray, mean: np.ndarray) -> float:
    """Eucos of two vectors."""
    cosine = (v @ mean) / math.sqrt((v @ v) * (mean @ mean))
    return math.sqrt(((v - mean) ** 2).sum()) / 200 + 1 - cosine


def naive_fit(train: SavedScores, tail: int = 20) -> tuple[list[np.ndarray], list[libmr.MR]]:
    """Means and Weibull models, class by class and sample by sample."""
    assert train.logits is not None
    means, models = [], []
    for c in range(train.logits.shape[1]):
        right = train.logits[(train.labels == c) & (train.prediction == c)].astype(np.float64)
        means.append(right.mean(0))
        models.append(libmr.MR())
        largest = np.sort([distance(v, means[c]) for v in right])[-tail:]
        models[c].fit_high(largest, len(largest))
    return means, models


def naive_score(test: SavedScores, means: list[np.ndarray], models: list[libmr.MR], alpha: int = 10) -> np.ndarray:
    """Probabilities of the K + 1 classes, sample by sample."""
    assert test.logits is not None
    probabilities = np.empty((len(test), test.logits.shape[1] + 1))
    for n, v in enumerate(test.logits.astype(np.float64)):
        revised, unknown = v.copy(), 0.0
        for i, c in enumerate(np.argsort(v)[::-1][:alpha]):
            moved = v[c] * models[c].w_score(distance(v, means[c])) * (alpha - i) / alpha
            revised[c] -= moved
            unknown += moved
        e = np.exp([*revised, unknown])
        probabilities[n] = e / e.sum()
    return probabilities


def compare(scored: SavedScores, probabilities: np.ndarray) -> float:
    """The largest difference of the accepted samples' confidences; stops if not the same samples are accepted."""
    known, unknown = probabilities[:, :-1].max(1), probabilities[:, -1]
    accepted = known >= unknown
    if ((scored.confidence > 0) != accepted).any():
        sys.exit("the naive form accepts other samples")
    return float(np.abs(scored.confidence[accepted] - known[accepted]).max(initial=0))


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    _measure.set_threads()
    classes, n_train, n_test, n_other = (20, 200, 40, 20) if options.quick else (1000, 20_000, 2_000, 500)
    if options.large:
        n_train, n_test = 50_000, 50_000
    train, test = samples(n_train, classes, 0), samples(n_test, classes, 1)
    detector = OpenMax(DetectorSetup((1,) * classes, (0.25, 0.25, 0.25), OpenMax.Params()))
    forms = {"fit": partial(detector.fit, train), "score": partial(detector.score, test)}
    sizes = {"classes": classes, "training samples": n_train, "test samples": n_test}
    packages = ("numpy", "torch", "libmr", "pytorch-ood")
    detector.fit(train)
    if options.large:
        median = _measure.medians(forms, options.repetitions)
        _measure.report(options, "openmax_large", sizes, median, {}, packages)
        return
    means, models = naive_fit(train)
    gap = compare(detector.score(test), naive_score(test, means, models))
    forms["loop, fit"] = partial(naive_fit, train)
    forms["loop, score"] = partial(naive_score, test, means, models)
    median = _measure.medians(forms, options.repetitions)
    ratio = {f"loop / ours, {step}": median[f"loop, {step}"] / median[step] for step in ("fit", "score")}
    more = {"largest difference of confidences": gap}
    try:
        from pytorch_ood.detector import OpenMax as Other
    except ImportError:
        more["pytorch-ood"] = "not installed, so not measured"
    else:
        import torch

        assert train.logits is not None
        few = test.take(slice(n_other))
        other = Other(None, tailsize=20, alpha=10)
        start = time.perf_counter()
        other.fit_logits(torch.from_numpy(train.logits), torch.from_numpy(train.labels))
        more["seconds of pytorch-ood's fit, once"] = round(time.perf_counter() - start, 1)
        ours, theirs = f"score, {n_other} samples", f"pytorch-ood, score, {n_other} samples"
        logits = torch.from_numpy(few.logits)
        forms = {ours: partial(detector.score, few), theirs: partial(other.predict_logits, logits)}
        median |= _measure.medians(forms, options.repetitions)
        ratio["pytorch-ood / ours, score"] = median[theirs] / median[ours]
    _measure.report(options, "openmax", sizes, median, ratio, packages, **more)


if __name__ == "__main__":
    main()
