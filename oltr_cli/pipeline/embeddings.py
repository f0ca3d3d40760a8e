"""Embeddings of a finished network, saved next to its scores, and the identification rates computed from them.

Logits are not saved with them: K times a million distractors would be large and useless.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.base.arrays import load_npy
from oltr_cli.base.files import write_atomically
from oltr_cli.data.feed.opening import Split
from oltr_cli.errors import DataProblem
from oltr_cli.method import Method, Scores
from oltr_cli.pipeline.networks import NetworkScores
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.identification import identification
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.scores import LARGE_LOGITS
from oltr_cli.training.scoring import rows_of_split

if TYPE_CHECKING:
    from accelerate import Accelerator

SPLITS = ("probe", "distractors", "train")  # whose embeddings identification takes


def identify(p: Planned, network: Method, networks: NetworkScores) -> dict[str, Any] | None:
    """Embed probes, distractors and the training set, save the embeddings, and identify the probes; None without any.

    All processes embed, the first one compares; all return the same. See ``identification`` for the result.
    """
    dataset, accelerator, display = networks.dataset, networks.accelerator, networks.display
    if "probe" not in dataset.splits:
        return None
    with display.bar("embedding", sum(len(dataset.splits[name]) for name in SPLITS)) as bar:
        for name in SPLITS:
            rows = embed_split(
                network,
                dataset.splits[name],
                p.link.recipe.data,
                accelerator,
                networks.workers,
                skip_undecodable=name == "train",
                advance=bar.advance,
            )
            if accelerator.is_main_process:
                save_embeddings(p.run.embeddings(name), rows)
    found: list[dict[str, Any] | None] = [None]
    if accelerator.is_main_process:
        probe, distractors, train = (load_embeddings(p.run.embeddings(name)) for name in SPLITS)
        with display.bar("identifying", len(distractors) + len(train)) as bar:
            found[0] = identification(
                probe,
                dataset.splits["probe"].labels,
                distractors,
                train,
                dataset.groups,
                device=accelerator.device,
                advance=bar.advance,
            )
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    return found[0]


def embed_split(
    method: Method,
    split: Split,
    spec: DataSpec,
    accelerator: "Accelerator",
    workers: int,
    *,
    skip_undecodable: bool = False,
    advance: Callable[[int], None] = lambda images: None,
) -> NDArray[np.floating]:
    """Embeddings (N, E) of every image of ``split`` in order, of length 1; float16 when they are large.

    They are a method's ``Scores.embedding``, or its features if it has none. Cosine similarity does not depend on the
    length, and length 1 fits float16. Arguments and errors are those of ``rows_of_split``.
    """

    def keep(scores: Scores) -> list[Tensor]:
        rows = F.normalize((scores.features if scores.embedding is None else scores.embedding).float(), dim=1)
        return [rows.half() if len(split) * rows.shape[1] >= LARGE_LOGITS else rows]

    return rows_of_split(
        method, split, spec, accelerator, workers, keep, skip_undecodable=skip_undecodable, advance=advance
    )[1]


def save_embeddings(path: Path, rows: NDArray[np.floating]) -> None:
    """Write embeddings (N, E) to ``path`` (.npy) atomically."""
    write_atomically(path, lambda file: np.save(file, rows, allow_pickle=False))


def load_embeddings(path: Path) -> NDArray[np.floating]:
    """Embeddings (N, E), memory-mapped.

    Raises:
        DataProblem: missing, truncated, or not such an array.
    """
    try:
        rows = load_npy(path, "r")
    except (OSError, ValueError) as error:
        raise DataProblem(f"{path}: cannot be read as embeddings ({error})") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        raise DataProblem(f"{path}: is not an array of embeddings (N, E)")
    return rows
