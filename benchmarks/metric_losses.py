"""Lifted and range loss against the same by a loop over pairs, forward and backward: time and ratio.

python benchmarks/metric_losses.py
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from oltr_cli.methods.lifted import lifted_loss
from oltr_cli.methods.range import range_terms

BATCH, DIM, IMAGES_PER_CLASS = 128, 512, 4
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


def measure(loss: Loss, features: Tensor, labels: Tensor, repeats: int) -> tuple[float, float, Tensor]:
    """Median seconds of a forward and backward pass, the loss, and its gradient (B, D)."""
    times = []
    for _ in range(repeats):
        v = features.clone().requires_grad_()
        start = time.perf_counter()
        value = loss(v, labels)
        value.backward()
        times.append(time.perf_counter() - start)
    assert v.grad is not None
    return statistics.median(times), value.item(), v.grad


def main() -> None:
    torch.manual_seed(0)
    features = torch.randn(BATCH, DIM)
    labels = torch.arange(BATCH // IMAGES_PER_CLASS).repeat_interleave(IMAGES_PER_CLASS)
    print(f"batch {BATCH} of {IMAGES_PER_CLASS} images a class, D {DIM}, forward and backward", end="")
    print(f", {torch.get_num_threads()} threads")
    both: dict[str, tuple[Loss, Loss]] = {"lifted": (lifted_loss, naive_lifted), "range": (ours_range, naive_range)}
    for name, (ours, naive) in both.items():
        fast, value, gradient = measure(ours, features, labels, 30)
        slow, expected, wanted = measure(naive, features, labels, 3)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-4)
        print(f"  {name:7} {1000 * fast:8.1f} ms   loop {1000 * slow:8.1f} ms   ratio {slow / fast:8.1f} ×")


if __name__ == "__main__":
    main()
