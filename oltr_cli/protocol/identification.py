"""Rank-1 identification of identities not seen in training (Table 4, left).

Source: Liu et al., CVPR 2019, Sec. 5, after MegaFace (Kemelmacher-Shlizerman et al., CVPR 2016). Probes and distractors
share no identity with the training set, nor with each other. For each ordered pair of two probes p ≠ m of one identity,
p is looked up in a gallery of its mate m among all distractors d, by cosine similarity s of the embeddings:

    right(p, m) = s(p, m) > max_d s(p, d)         ties are wrong, and so are differences up to TIE

The rate is the share of right pairs, as MegaFace has it: an identity with n probes counts n(n − 1) times. The groups
are of probes: by pseudo-shots, the training images with s > 0.7 by the same embedding (many ≥ 5, few 2–4, one, zero),
and by the groups of ``attributes.txt``. Similarities are computed in blocks, never as one matrix.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.errors import DataProblem

SIMILAR = 0.7  # the paper's bound of pseudo-shots
TIE = 1e-6  # float32 similarities of equal vectors differ by less, from one matrix product to another
PROBE_BLOCK, OTHER_BLOCK = 1024, 16_384  # 64 MiB of similarities at a time


def identification(
    probe: NDArray[np.floating],
    identities: NDArray[np.int64],
    distractors: NDArray[np.floating],
    train: NDArray[np.floating],
    groups: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
    """Identification rates by pseudo-shots and by group; see the module's text for the definitions.

    Args:
        probe: embeddings (P, E) of any length, like the others, which may be memory-mapped.
        identities: (P,), the identity of each probe.
        distractors: (M, E). train: (N, E).
        groups: name → members (P,).
        device: where the similarities are computed.
        advance: called with the number of rows of ``distractors`` and ``train`` done.

    Returns:
        ``{"metrics": {"identification/full", …/many, …/few, …/one, …/zero, and …/GROUP}, "counts": {"probes",
        "identities", "distractors", "pairs": {group: number}}}``; rates are fractions, None for a group without a pair.
    Raises:
        DataProblem: an embedding is not finite.
    """
    probes = _unit(probe, device)
    closest, near = _against_others(probes, distractors, train, advance)
    right, pairs = _pairs(probes, torch.from_numpy(np.asarray(identities, np.int64)).to(device), closest)
    members = {"full": np.ones(len(probe), np.bool_), **_by_shots(near.cpu().numpy()), **(groups or {})}
    numbers = {name: int(pairs[mask].sum()) for name, mask in members.items()}
    return {
        "metrics": {
            f"identification/{name}": float(right[mask].sum() / numbers[name]) if numbers[name] else None
            for name, mask in members.items()
        },
        "counts": {
            "probes": len(probe),
            "identities": len(np.unique(identities)),
            "distractors": len(distractors),
            "pairs": numbers,
        },
    }


def _unit(rows: NDArray[np.floating], device: torch.device | str) -> Tensor:
    return F.normalize(torch.from_numpy(np.array(rows, np.float32)).to(device), dim=1)


def _against_others(
    probes: Tensor, distractors: NDArray[np.floating], train: NDArray[np.floating], advance: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """For each probe: the largest similarity to a distractor, and the number of training images above ``SIMILAR``."""
    closest = torch.full((len(probes),), -torch.inf, device=probes.device)
    near = torch.zeros(len(probes), dtype=torch.int64, device=probes.device)
    for name, others in (("distractors", distractors), ("train", train)):
        for start in range(0, len(others), OTHER_BLOCK):
            block = _unit(others[start : start + OTHER_BLOCK], probes.device)
            if not block.isfinite().all():
                raise DataProblem(f"identification: an embedding of {name} is not finite")
            for first in range(0, len(probes), PROBE_BLOCK):
                rows = slice(first, first + PROBE_BLOCK)
                similarity = probes[rows] @ block.T
                if name == "distractors":
                    closest[rows] = torch.maximum(closest[rows], similarity.amax(dim=1))
                else:
                    near[rows] += (similarity > SIMILAR).sum(dim=1)
            advance(len(block))
    if not probes.isfinite().all():
        raise DataProblem("identification: an embedding of probe is not finite")
    return closest, near


def _pairs(probes: Tensor, identities: Tensor, closest: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each probe: the number of its mates with which it is right, and the number of its mates; both (P,)."""
    # Sorted by identity, the mates of a block of probes are neighbours: only these columns of P × P are computed.
    order = identities.argsort(stable=True)
    sorted_ = identities[order]
    first, last = torch.searchsorted(sorted_, sorted_), torch.searchsorted(sorted_, sorted_, right=True)
    hits = torch.zeros_like(sorted_)
    for start in range(0, len(order), PROBE_BLOCK):
        stop = min(start + PROBE_BLOCK, len(order))
        rows, columns = torch.arange(start, stop, device=order.device), slice(int(first[start]), int(last[stop - 1]))
        right = probes[order[rows]] @ probes[order[columns]].T > closest[order[rows], None] + TIE
        right &= sorted_[rows, None] == sorted_[columns]
        right[rows - start, rows - columns.start] = False  # a probe is not its own mate
        hits[rows] = right.sum(dim=1)
    right_of, mates = torch.empty_like(hits), torch.empty_like(hits)
    right_of[order], mates[order] = hits, last - first - 1
    return right_of.cpu().numpy(), mates.cpu().numpy()


def _by_shots(near: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    return {"many": near >= 5, "few": (near >= 2) & (near < 5), "one": near == 1, "zero": near == 0}
