"""What a machine runs out of is named in one line; what is a fault of ours keeps its traceback."""

import pytest
import torch

from oltr_cli.errors import OltrError
from oltr_cli.pipeline import named_shortages


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "lower train.batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "--workers 0"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    ],
)
def test_shortages_are_named(error, words):
    with pytest.raises(OltrError, match=words) as caught, named_shortages():
        raise error
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes differ"), named_shortages():
        raise RuntimeError("shapes differ")
