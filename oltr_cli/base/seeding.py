"""Random numbers keyed by what they are for, so that nothing depends on worker count, order or interruption."""

import hashlib

import numpy as np


def derive(*key: int | str) -> int:
    """A 63-bit seed from a key such as ``(seed, "sampler", epoch)``; the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """A NumPy generator of its own for ``key``."""
    return np.random.Generator(np.random.PCG64(derive(*key)))
