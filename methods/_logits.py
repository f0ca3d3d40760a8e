"""Softmax and log-sum-exp of logits in float64, for detectors that read them next to features."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def energy(logits: NDArray[np.floating]) -> Floats:
    """log Σ_c exp f_c of logits (B, K), (B,)."""
    logits = logits.astype(np.float64)
    highest = logits.max(axis=1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))


def softmax(logits: NDArray[np.floating]) -> Floats:
    """Probabilities (B, K) of logits (B, K)."""
    p = logits.astype(np.float64)
    p -= p.max(axis=1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p
