"""The meta-embedding head and its loss against the naive (B, K, D) form, forward and backward: time and peak memory.

python benchmarks/dme_head.py            1,000 classes, both forms, and the ratio
python benchmarks/dme_head.py --large    MS1M-LT's 74,500 classes, which the naive form cannot hold
"""

import _measure  # before numpy and torch

# isort: split
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from oltr_cli.methods.dme import CentroidLoss, MetaEmbeddingHead


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


def both_ways(form: Callable[..., Tensor], batch: int, dim: int, classes: int) -> Callable[[], None]:
    """A forward and backward pass of one form, with weights and features that are the same for all forms."""
    torch.manual_seed(0)
    head, loss = MetaEmbeddingHead(dim, classes), CentroidLoss(classes, dim)
    direct, labels = torch.randn(batch, dim, requires_grad=True), torch.randint(classes, (batch,))

    def step() -> None:
        form(head, loss, direct, labels).backward()
        for p in (direct, *head.parameters(), *loss.parameters()):
            p.grad = None

    return step


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    _measure.set_threads()
    batch, dim, classes = (4, 8, 10) if options.quick else (128, 512, 74_500 if options.large else 1000)
    build = partial(both_ways, batch=batch, dim=dim, classes=classes)
    sizes = {"samples a batch": batch, "dimensions": dim, "classes": classes}
    before = _measure.peak_mb()
    fast = _measure.medians({"(B, K)": build(ours)}, options.repetitions)
    peak = {"(B, K) MB above the imports": round(_measure.peak_mb() - before)}
    if options.large:
        _measure.report(options, "dme_head_large", sizes, fast, {}, **peak)
        return
    # Once more beside the naive form: only forms that take turns are compared.
    median = _measure.medians({"(B, K)": build(ours), "(B, K, D)": build(naive)}, options.repetitions)
    peak["(B, K, D) MB above the imports"] = round(_measure.peak_mb() - before)
    ratio = {"(B, K, D) / (B, K)": median["(B, K, D)"] / median["(B, K)"]}
    _measure.report(options, "dme_head", sizes, median, ratio, **peak)


if __name__ == "__main__":
    main()
