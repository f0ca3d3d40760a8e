"""On a CPU, two batches at once on half the threads each.

The threads of one batch wait for each other after every layer. While one of them shares its processor with a decoding
process, or with another program, all others wait with it. Threads with batches of their own wait for nobody.

Detectors compute with NumPy, whose OpenBLAS has threads that spin while they wait and so take a processor from both
batches; a batch is too small for them to gain anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

LANES = 2


@contextmanager
def lanes(device: torch.device) -> Iterator[int]:
    """How many batches to judge at once, with torch's threads shared among them until the end; 0: none beside another.

    A GPU works on one batch at a time in any case.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < LANES:
        yield 0
        return
    torch.set_num_threads(-(-threads // LANES))
    try:
        with threadpool_limits(1, user_api="blas"):
            yield LANES
    finally:
        torch.set_num_threads(threads)
