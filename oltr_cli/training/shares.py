"""Several processes that share each batch and end with the gradients of the whole of it.

Each process computes the backbone of its rows. Their features are then gathered, and each process computes the loss of
the whole batch: so a loss over pairs, over a batch's classes or with weights is the same for any number of processes.
Batch norm of the backbone takes mean and variance over the rows of all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from oltr_cli.data.feed.loading import rank_share
from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import Backbone

Norm = nn.modules.batchnorm._BatchNorm
Normalise = Callable[[Tensor], Tensor]
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Shares:
    """The rows of each batch that process ``rank`` of ``world`` computes.

    Attributes:
        rows: of a whole batch.
    """

    rows: int
    rank: int
    world: int

    def __post_init__(self) -> None:
        if self.rows < self.world:
            raise UsageProblem(
                f"{self.world} processes cannot share batches of {self.rows}; start at most {self.rows}, or raise "
                "train.batch_size"
            )

    @property
    def own(self) -> slice:
        return rank_share(self.rows, self.rank, self.world)

    def whole(self, tensor: Tensor) -> Tensor:
        """The rows of all processes (rows, …) from those of each (n, …).

        Its gradient is that of the sum of what the processes compute of it, if all compute the same: the mean over
        processes, which distributed training takes, is then the gradient of one of them.
        """
        return _Whole.apply(tensor, self)

    def gather(self, tensor: Tensor) -> Tensor:
        """``whole`` without gradient."""
        sizes = [len(range(self.rows)[rank_share(self.rows, rank, self.world)]) for rank in range(self.world)]
        most = max(sizes)
        padded = tensor.new_zeros(most, *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, shares: Shares) -> Tensor:
        ctx.shares = shares
        return shares.gather(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # The others have the same gradient, so the sum of all is known without asking them.
        return grads[0][ctx.shares.own] * ctx.shares.world, None


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0])


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def share_norms(backbone: Backbone, shares: Shares) -> None:
    """From now on the batch norms of ``backbone``, while they train, see the rows of all processes.

    Args:
        backbone: on its device; its modules and weights stay the same objects.
    Raises:
        UsageProblem: it has a batch norm of a kind that is not known here.
    """
    for name, norm in backbone.named_modules():
        if isinstance(norm, Norm):
            _check(norm, name)
            norm.forward = partial(_forward, norm, norm.forward, _together(norm, shares))  # type: ignore[method-assign]


def _forward(norm: Norm, alone: Normalise, together: Normalise, images: Tensor) -> Tensor:
    if not norm.training:
        return alone(images)
    normal = together(images)
    return normal if type(norm) in PLAIN else norm.act(norm.drop(normal))  # type: ignore[operator]


def _check(norm: Norm, name: str) -> None:
    of_timm = type(norm).__name__ == "BatchNormAct2d" and hasattr(norm, "drop") and hasattr(norm, "act")
    if type(norm) not in PLAIN and not of_timm:
        raise UsageProblem(
            f"several processes cannot share the backbone's {name}, a batch norm of its own kind, "
            f"{type(norm).__name__}; start one process"
        )
    if norm.momentum is None or norm.running_mean is None or norm.weight is None:
        raise UsageProblem(
            f"several processes cannot share the backbone's {name}, a batch norm without weights, statistics or "
            "momentum; start one process"
        )


def _together(norm: Norm, shares: Shares) -> Normalise:
    """``norm`` in training over all processes, on its own weights and statistics."""
    if norm.weight.device.type == "cpu":  # torch's runs on GPUs only
        return partial(_on_cpu, norm, shares)
    torchs = nn.SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
    torchs.weight, torchs.bias = norm.weight, norm.bias
    torchs.running_mean, torchs.running_var = norm.running_mean, norm.running_var
    torchs.num_batches_tracked = norm.num_batches_tracked
    return torchs


def _on_cpu(norm: Norm, shares: Shares, images: Tensor) -> Tensor:
    """(x − mean) / √(var + eps) · weight + bias, mean and variance of x (n, C, …) over the rows of all."""
    cells = images[0, 0].numel()
    count = shares.rows * cells
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training")  # in the words of torch
    axes = [0, *range(2, images.ndim)]
    shape = [1, -1, *[1] * (images.ndim - 2)]
    mean = _Sum.apply(images.sum(axes)) / count
    centred = images - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / count
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum or 0.0)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum or 0.0)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return centred * scale.view(shape) + norm.bias.view(shape)
