"""Lifted and range loss against the same by a loop over pairs, forward and backward: time and ratio.

python benchmarks/metric_losses.py
"""

import _measure  # before numpy and torch

# isort: split
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from oltr_cli.methods.lifted import lifted_loss
from oltr_cli.methods.range import range_terms

IMAGES_PER_CLASS = 4
Loss = Callable[[Tensor, Tensor], Tensor]


def ours_range(v: Tensor, labels: Tensor) -> Tensor:
    """Both terms of the range loss, summed."""
    intra, inter = range_terms(v, labels, k=2, margin=2000.0)
    return intra + inter


def distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ of two features (D,)."""
    return (a - b).square().sum().clamp_min(1e-12).sqrt()


def naive_lifted(v: Tensor, labels: Tensor) -> Tensor:
    """Every positive pair in turn; each distance is computed once."""
    classes = labels.tolist()
    d = {(i, j): distance(v[i], v[j]) for i in range(len(v)) for j in range(i)}
    pairs = [(i, j) for i, j in d if classes[i] == classes[j]]
    total = v.new_zeros(())
    for i, j in pairs:
        negatives = [5.0 - d[max(e, k), min(e, k)] for e in (i, j) for k in range(len(v)) if classes[k] != classes[e]]
        total = total + (torch.stack(negatives).logsumexp(0) + d[i, j]).clamp_min(0).square()
    return total / (2 * len(pairs))


def naive_range(v: Tensor, labels: Tensor) -> Tensor:
    """Every class in turn, then every pair of class means."""
    intra, means = v.new_zeros(()), []
    for c in sorted(set(labels.tolist())):
        own = [x for x, y in zip(v, labels.tolist(), strict=True) if y == c]
        widest = torch.stack([distance(a, b) for n, a in enumerate(own) for b in own[n + 1 :]]).topk(2).values
        intra = intra + 2 / (1 / widest).sum()
        means.append(torch.stack(own).mean(0))
    squared = torch.stack([(a - b).square().sum() for n, a in enumerate(means) for b in means[n + 1 :]])
    return intra + (2000.0 - squared.min()).clamp_min(0)


def both_ways(loss: Loss, features: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The loss and its gradient (B, D), by a forward and a backward pass."""
    v = features.clone().requires_grad_()
    value = loss(v, labels)
    value.backward()
    assert v.grad is not None
    return value.item(), v.grad


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    _measure.set_threads()
    batch, dim = (12, 8) if options.quick else (128, 512)
    torch.manual_seed(0)
    features = torch.randn(batch, dim)
    labels = torch.arange(batch // IMAGES_PER_CLASS).repeat_interleave(IMAGES_PER_CLASS)
    pairs: dict[str, tuple[Loss, Loss]] = {"lifted": (lifted_loss, naive_lifted), "range": (ours_range, naive_range)}
    forms = {}
    for name, losses in pairs.items():
        ours, loop = (partial(both_ways, loss, features, labels) for loss in losses)
        (value, gradient), (expected, wanted) = ours(), loop()
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4)
        forms |= {name: ours, f"{name}, loop": loop}
    median = _measure.medians(forms, options.repetitions)
    ratio = {f"loop / ours, {name}": median[f"{name}, loop"] / median[name] for name in pairs}
    sizes = {"samples a batch": batch, "images a class": IMAGES_PER_CLASS, "dimensions": dim}
    _measure.report(options, "metric_losses", sizes, median, ratio)


if __name__ == "__main__":
    main()
