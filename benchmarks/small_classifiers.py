"""Sampled few-shot classifiers of many classes at once against one least-squares problem after the other: time, ratio.

python benchmarks/small_classifiers.py            500 classifiers on 512 features, both forms, and the ratio
python benchmarks/small_classifiers.py --large    ImageNet-LT's size: all that model-regression prepares
"""

import _measure  # before numpy and torch

# isort: split
import argparse
import itertools

import torch
from torch import Tensor

from oltr_cli.data.longtail import pareto_counts
from oltr_cli.methods._model_space import ModelSpace
from oltr_cli.methods._small_classifiers import SmallClassifiers

RIDGE = 4.0
CLASSES, SHOTS = 20, (1, 2, 4, 8, 16)  # five draws of each: 500 classifiers
DRAWS = 5


def features(counts: list[int], dim: int) -> tuple[Tensor, Tensor]:
    """Features (N, dim) of as many images of each class, and their labels."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    means = torch.randn(len(counts), dim)
    return means[labels] + torch.randn(len(labels), dim), labels


def one(z: Tensor, labels: Tensor, present: int, c: int, positives: Tensor) -> Tensor:
    """The classifier of class c on ``positives`` from its own moments: the negatives' are one product, and no loop."""
    rest = labels != c
    mass = 0.5 / (present - 1) / torch.bincount(labels)[labels[rest]]
    negatives, p = z[rest], z[positives]
    moment = (mass.unsqueeze(1) * negatives).T @ negatives + p.T @ p / (2 * len(p)) + RIDGE * torch.eye(z.shape[1])
    return torch.linalg.solve(moment, p.mean(0) / 2 - (mass.unsqueeze(1) * negatives).sum(0))


def one_with_moments(rest: tuple[Tensor, Tensor], p: Tensor) -> Tensor:
    """The same where the negatives' moment is known already: what is left is one (D + 1)³ system a classifier."""
    moment, mean = rest
    return torch.linalg.solve(moment + p.T @ p / (2 * len(p)), p.mean(0) / 2 - mean / 2)


def compare(options: argparse.Namespace) -> None:
    """All at once against one after the other, with and without moments that are known already."""
    dim, images, one_by_one = (8, 20, 5) if options.quick else (512, 150, 25)
    x, labels = features([images] * CLASSES, dim)
    z = torch.nn.functional.pad(x, (0, 1), value=1.0)
    classes = torch.arange(CLASSES)
    draws = torch.Generator().manual_seed(1)
    chosen = [
        (c, (labels == c).nonzero().squeeze(1)[torch.randperm(images, generator=draws)[:k]])
        for c, k, _ in itertools.product(range(CLASSES), SHOTS, range(DRAWS))
    ]
    few = chosen[:: len(chosen) // one_by_one]

    def at_once() -> list[Tensor]:
        small = SmallClassifiers(z, labels, CLASSES, RIDGE)
        return small.sampled(classes, SHOTS, [DRAWS] * len(SHOTS), torch.Generator().manual_seed(0))

    def summed_once() -> None:
        moments = []
        for c in range(CLASSES):
            negatives = z[labels != c]
            moment = negatives.T @ negatives / (2 * len(negatives)) + RIDGE * torch.eye(z.shape[1])
            moments.append((moment, negatives.mean(0)))
        for c, positives in chosen:
            one_with_moments(moments[c], z[positives])

    def in_turn() -> None:
        for c, positives in few:
            one(z, labels, CLASSES, c, positives)

    # Same numbers: a draw of all images is the same set in both.
    whole = SmallClassifiers(z, labels, CLASSES, RIDGE).sampled(classes[:1], (images,), (1,), draws)[0][0, 0]
    torch.testing.assert_close(whole, one(z, labels, CLASSES, 0, torch.arange(images)), rtol=1e-3, atol=1e-4)

    number = sum(theta.shape[0] * theta.shape[1] for theta in at_once())
    part = f"one by one, {len(few)} of them"
    forms = {"at once": at_once, "one by one, negatives summed once": summed_once, part: in_turn}
    median = _measure.medians(forms, options.repetitions)
    ratio = {
        "negatives summed once / at once": median["one by one, negatives summed once"] / median["at once"],
        "one by one, scaled up / at once": median[part] * len(chosen) / len(few) / median["at once"],
    }
    sizes = {"classifiers": number, "classes": CLASSES, "features": dim, "images a class": images}
    _measure.report(options, "small_classifiers", sizes, median, ratio)


def large(options: argparse.Namespace) -> None:
    """All that model-regression prepares at ImageNet-LT's size."""
    counts, dim = (pareto_counts(20).tolist(), 8) if options.quick else (pareto_counts(1000).tolist(), 512)
    x, labels = features(counts, dim)

    def prepare() -> None:
        ModelSpace(dim, counts, head_images=100).prepare(x, labels, 0.3, RIDGE)

    median = _measure.medians({"prepare": prepare}, options.repetitions)
    sizes = {"features": len(x), "classes": len(counts), "dimensions": dim}
    _measure.report(options, "small_classifiers_large", sizes, median, {})


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    _measure.set_threads()
    torch.manual_seed(0)
    if options.large:
        large(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
