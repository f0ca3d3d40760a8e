"""Sampled few-shot classifiers of many classes at once against one least-squares problem after the other: time, ratio.

python benchmarks/small_classifiers.py            500 classifiers on 512 features, both forms, and the ratio
python benchmarks/small_classifiers.py --large    ImageNet-LT's size: all that model-regression prepares
"""

import argparse
import time

import torch
from torch import Tensor

from oltr_cli.data.longtail import pareto_counts
from oltr_cli.methods._model_space import ModelSpace
from oltr_cli.methods._small_classifiers import SmallClassifiers

DIM, RIDGE = 512, 4.0
CLASSES, SHOTS = 20, (1, 2, 4, 8, 16)  # five draws of each: 500 classifiers
DRAWS = 5


def features(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Features (N, 512) of as many images of each class, and their labels."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    means = torch.randn(len(counts), DIM)
    return means[labels] + torch.randn(len(labels), DIM), labels


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


def compare() -> None:
    counts = [150] * CLASSES
    x, labels = features(counts)
    z = torch.nn.functional.pad(x, (0, 1), value=1.0)
    classes = torch.arange(CLASSES)

    start = time.perf_counter()
    small = SmallClassifiers(z, labels, CLASSES, RIDGE)
    batched = small.sampled(classes, SHOTS, [DRAWS] * len(SHOTS), torch.Generator().manual_seed(0))
    fast = time.perf_counter() - start
    number = sum(theta.shape[0] * theta.shape[1] for theta in batched)

    draws = torch.Generator().manual_seed(1)
    chosen = [
        (c, (labels == c).nonzero().squeeze(1)[torch.randperm(150, generator=draws)[:k]])
        for c in range(CLASSES)
        for k in SHOTS
        for _ in range(DRAWS)
    ]
    start = time.perf_counter()
    for c, positives in chosen[:: len(chosen) // 50]:
        one(z, labels, CLASSES, c, positives)
    slow = (time.perf_counter() - start) * len(chosen) / len(chosen[:: len(chosen) // 50])
    start = time.perf_counter()
    moments = []
    for c in range(CLASSES):
        negatives = z[labels != c]
        moment = negatives.T @ negatives / (2 * len(negatives)) + RIDGE * torch.eye(z.shape[1])
        moments.append((moment, negatives.mean(0)))
    for c, positives in chosen:
        one_with_moments(moments[c], z[positives])
    middle = time.perf_counter() - start
    # Same numbers: a draw of all images is the same set in both.
    everything = small.sampled(classes[:1], (150,), (1,), draws)[0][0, 0]
    torch.testing.assert_close(everything, one(z, labels, CLASSES, 0, torch.arange(150)), rtol=1e-3, atol=1e-4)

    print(f"{number} classifiers of {CLASSES} classes, {DIM} features, {torch.get_num_threads()} threads")
    print(f"  at once                              {fast:7.2f} s")
    print(f"  one by one, negatives summed once    {middle:7.2f} s  {middle / fast:6.1f} ×")
    print(f"  one by one (50 of them, scaled up)   {slow:7.2f} s  {slow / fast:6.1f} ×")


def large() -> None:
    counts = pareto_counts(1000).tolist()
    x, labels = features(counts)
    space = ModelSpace(DIM, counts, head_images=100)
    start = time.perf_counter()
    space.prepare(x, labels, 0.3, RIDGE)
    taken = time.perf_counter() - start
    print(f"{len(x):,} features of {len(counts):,} classes × {DIM}, {len(space._pool):,} sampled: {taken:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    torch.manual_seed(0)
    if parser.parse_args().large:
        large()
    else:
        compare()


if __name__ == "__main__":
    main()
