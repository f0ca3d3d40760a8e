"""``oltr run --compile``: the backbone by ``torch.compile``, which needs a compiler on this machine."""

from collections.abc import Callable

import torch
from torch import Tensor

from oltr_cli.errors import OltrError, first_line


def compiled(compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``compute``, compiled when it is first called.

    Raises:
        OltrError: by the returned function: it cannot be compiled here.
    """
    fast = torch.compile(compute)

    def call(images: Tensor) -> Tensor:
        try:
            return fast(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise OltrError(
                f"--compile: the backbone cannot be compiled here ({first_line(error)}); leave it out"
            ) from None

    return call
