"""The meta-embedding head and its loss against the naive (B, K, D) form, forward and backward: time and peak memory.

python benchmarks/dme_head.py            ImageNet-LT's size, both forms, and the ratio
python benchmarks/dme_head.py --large    MS1M-LT's 74,500 classes, which the naive form cannot hold
"""

import argparse
import resource
import time

import torch
from torch import Tensor

from oltr_cli.methods.dme import CentroidLoss, MetaEmbeddingHead

BATCH, DIM = 128, 512


def ours(head: MetaEmbeddingHead, loss: CentroidLoss, direct: Tensor, labels: Tensor) -> Tensor:
    """One training loss by the (B, K) form."""
    return head(direct, loss.centroids).square().mean() + 0.01 * loss(direct, labels)


def naive(head: MetaEmbeddingHead, loss: CentroidLoss, direct: Tensor, labels: Tensor) -> Tensor:
    """The same with every feature laid beside every centroid."""
    centroids = loss.centroids.detach()
    gamma = (direct[:, None, :] - centroids[None, :, :]).norm(dim=2).amin(dim=1)
    v_memory = head.hallucinator(direct).softmax(1) @ centroids
    meta = (10 / gamma).unsqueeze(1) * (direct + head.selector(direct).tanh() * v_memory)
    squared = (direct[:, None, :] - loss.centroids[None, :, :]).square().sum(2)
    own = torch.zeros_like(squared).scatter_(1, labels[:, None], 1.0)
    attract = (squared * own).sum() / (2 * len(direct))
    repel = (10 - (squared * (1 - own)).mean()).clamp_min(0)
    return head.classifier(meta).square().mean() + 0.01 * (attract + 0.01 * repel)


def peak_mb() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(step, classes: int, repeats: int) -> float:
    """Median time of a forward and backward pass."""
    torch.manual_seed(0)
    head, loss = MetaEmbeddingHead(DIM, classes), CentroidLoss(classes, DIM)
    direct, labels = torch.randn(BATCH, DIM, requires_grad=True), torch.randint(classes, (BATCH,))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(head, loss, direct, labels).backward()
        times.append(time.perf_counter() - start)
        for p in (*head.parameters(), *loss.parameters()):
            p.grad = None
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    large = parser.parse_args().large
    before = peak_mb()
    if large:
        taken = seconds(ours, 74_500, 3)
        print(f"74,500 classes × {DIM}, batch {BATCH}: {taken:.2f} s, {peak_mb() - before:,.0f} MB above the imports")
        return
    fast = seconds(ours, 1000, 15)
    fast_peak = peak_mb() - before
    slow = seconds(naive, 1000, 5)
    print(f"1,000 classes × {DIM}, batch {BATCH}, forward and backward, {torch.get_num_threads()} threads")
    print(f"  (B, K) form     {1000 * fast:8.1f} ms  {fast_peak:8,.0f} MB")
    print(f"  (B, K, D) form  {1000 * slow:8.1f} ms  {peak_mb() - before:8,.0f} MB")
    print(f"  ratio           {slow / fast:8.1f} ×")


if __name__ == "__main__":
    main()
