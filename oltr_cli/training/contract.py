"""What a method hands to the engine, checked where it arrives: a wrong type or shape would fail far from its cause."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from oltr_cli.base.added_code import defined_at
from oltr_cli.errors import OltrError
from oltr_cli.method import Scores


def check_terms(function: Callable[..., Any], terms: Any) -> None:
    """Check that ``terms``, as ``function`` returned them, are named scalar tensors, some with a gradient.

    Raises:
        OltrError: they are not; the message names file and line of ``function``.
    """
    if not isinstance(terms, dict) or not all(isinstance(name, str) for name in terms):
        raise _wrong(function, f"{_kind(terms)}, not a dict of name to scalar tensor")
    if not terms:
        raise _wrong(function, "no term")
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            raise _wrong(function, f"{_kind(value)} as term '{name}', not a scalar tensor")
    if torch.is_grad_enabled() and not any(value.requires_grad for value in terms.values()):
        raise _wrong(function, "only terms without a gradient")


def check_scores(function: Callable[..., Any], scores: Any, samples: int, classes: int) -> None:
    """Check that ``scores``, as ``function`` returned them, have logits (B, K), confidence (B,) and features (B, D).

    Raises:
        OltrError: they do not; the message names file and line of ``function``.
    """
    if not isinstance(scores, Scores):
        raise _wrong(function, f"{_kind(scores)}, not Scores")
    for part, shape in (("logits", (samples, classes)), ("confidence", (samples,))):
        value = getattr(scores, part)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            raise _wrong(function, f"{_kind(value)} as {part}, not a tensor of shape {shape}")
    if not isinstance(scores.features, Tensor) or scores.features.ndim != 2 or len(scores.features) != samples:
        raise _wrong(function, f"{_kind(scores.features)} as features, not a tensor of shape ({samples}, D)")


def _wrong(function: Callable[..., Any], what: str) -> OltrError:
    return OltrError(f"{defined_at(function)}: returns {what}")


def _kind(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
