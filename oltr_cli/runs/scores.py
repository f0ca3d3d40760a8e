"""Saved scores: the output of a run's network for each sample, written once and read by everything later.

A file ``scores/<split>.npz`` contains, for N samples, K classes and D features:

=============  ================  =====================================================================
prediction     int64 (N,)        arg max over the K known classes, before any rejection
confidence     float32 (N,)      how surely the sample belongs to a known class; rejected if < τ; a float64 one that
                                 another program has written stays float64 when it is read
labels         int64 (N,)        class, or −1 for an open sample
logits         float16/32 (N, K) float16 from ``LARGE_LOGITS`` values on; the two rows above come from float32
features       float16/32 (N, D) optional
paths          str (N,)          optional; the sample's name inside its dataset
=============  ================  =====================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.files import write_atomically
from oltr_cli.errors import DataProblem

NEW_CLASS = "new_class"  # file of the images of which ``oltr add-class`` made a class, scored by the run with it
LARGE_LOGITS = 20_000_000  # number of values; 80 MB as float32
_SUM = 2e-3  # error of the sum of probabilities that were rounded to float16


@dataclass(frozen=True)
class SavedScores:
    """The arrays of one split, with shapes as in the table above."""

    prediction: NDArray[np.int64]
    confidence: NDArray[np.floating]
    labels: NDArray[np.int64]
    logits: NDArray[np.floating] | None = None
    features: NDArray[np.floating] | None = None
    paths: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: slice | NDArray[np.integer]) -> Self:
        """The samples at ``rows``; a slice copies nothing."""
        return replace(self, **{name: array[rows] for name, array in vars(self).items() if array is not None})

    def save(self, path: Path) -> None:
        """Write the arrays to ``path`` atomically; large logits and features are stored as float16."""
        arrays: dict[str, np.ndarray] = {
            "prediction": self.prediction.astype(np.int64),
            "confidence": self.confidence.astype(np.float32),
            "labels": self.labels.astype(np.int64),
        }
        for name in ("logits", "features"):
            values = getattr(self, name)
            if values is not None:
                arrays[name] = values.astype(np.float16 if values.size >= LARGE_LOGITS else np.float32)
        if self.paths is not None:
            arrays["paths"] = np.asarray(self.paths, dtype=np.str_)
        write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "SavedScores":
        """Read one split; nothing in the file is ever unpickled.

        Raises:
            DataProblem: the file is missing, truncated, contains pickled objects, or its arrays do not fit together.
        """
        return cls.from_arrays(read_npz(path), path)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], path: Path) -> "SavedScores":
        """Check and wrap arrays read from ``path`` (named in errors).

        If a file has only ``logits``, prediction and confidence (maximum softmax) are computed from them.

        Raises:
            DataProblem: as ``load`` does; or what the softmax is to be taken of are probabilities already.
        """
        if "labels" not in arrays:
            raise DataProblem(f"{path}: has no array 'labels' (N,); found: {', '.join(sorted(arrays)) or 'nothing'}")
        labels = arrays["labels"]
        logits = arrays.get("logits")
        if logits is not None and (logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating)):
            raise DataProblem(f"{path}: 'logits' must be floating (N, K), not {logits.dtype} {logits.shape}")
        prediction, confidence = arrays.get("prediction"), arrays.get("confidence")
        if prediction is None or confidence is None:
            if logits is None:
                raise DataProblem(f"{path}: needs 'prediction' and 'confidence', or 'logits' to compute them from")
            if are_probabilities(logits):
                raise DataProblem(
                    f"{path}: 'logits' are probabilities (every row is ≥ 0 and sums to 1), which must not go through a "
                    "softmax again; save their logarithm as 'logits', or save 'prediction' and 'confidence'"
                )
            made_prediction, made_confidence = max_softmax(logits)
            prediction = made_prediction if prediction is None else prediction
            confidence = made_confidence if confidence is None else confidence
        for name, array in (("labels", labels), ("prediction", prediction)):
            if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
                raise DataProblem(f"{path}: '{name}' must be integers (N,), not {array.dtype} {array.shape}")
        sized = {"labels": labels, "prediction": prediction, "confidence": confidence}
        sized |= {n: arrays[n] for n in ("logits", "features", "paths") if n in arrays}
        lengths = {name: len(array) if array.ndim else 0 for name, array in sized.items()}
        if len(set(lengths.values())) != 1:
            raise DataProblem(f"{path}: arrays differ in length: {lengths}")
        if confidence.ndim != 1 or not np.issubdtype(confidence.dtype, np.floating):
            raise DataProblem(f"{path}: 'confidence' must be floating (N,), not {confidence.dtype} {confidence.shape}")
        if np.isnan(confidence).any():
            raise DataProblem(
                f"{path}: 'confidence' contains {int(np.isnan(confidence).sum())} NaN; all confidences must be numbers"
            )
        if len(labels) and labels.min() < -1:
            raise DataProblem(f"{path}: label {labels.min()} is below −1 (−1 = open)")
        return cls(
            prediction.astype(np.int64),
            confidence.astype(_precision(confidence), copy=False),
            labels.astype(np.int64),
            logits,
            arrays.get("features"),
            arrays.get("paths"),
        )


def joined(parts: Sequence[SavedScores], labels: NDArray[np.int64] | None = None) -> SavedScores:
    """Several scores as one, in order; an array that one of them lacks is left out.

    Args:
        labels: for all N samples, in the place of theirs.
    """
    arrays = {}
    for name in vars(parts[0]):
        pieces = [getattr(part, name) for part in parts]
        arrays[name] = None if any(piece is None for piece in pieces) else np.concatenate(pieces)
    return SavedScores(**(arrays if labels is None else {**arrays, "labels": labels}))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; pickled ones are refused.

    Raises:
        DataProblem: missing, not an .npz file, truncated, or with pickled objects inside.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.ndarray):
            with archive:
                loaded = {name: archive[name] for name in archive.files}
                # A member that is not .npy is read as bytes; oltr writes none.
                return {name: array for name, array in loaded.items() if isinstance(array, np.ndarray)}
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such file") from None
    except Exception as error:
        # Damaged files make zipfile, zlib and numpy's header reader raise different kinds of errors.
        raise DataProblem(f"{path}: cannot be read as .npz without pickle ({error})") from None
    raise DataProblem(f"{path}: is a single .npy array; save the arrays by name with np.savez")


def max_softmax(logits: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Prediction (N,) and maximum softmax probability (N,) of logits (N, K), in blocks, without a full copy.

    The probabilities are float64 for float64 logits, otherwise float32.
    """
    prediction = np.empty(len(logits), np.int64)
    confidence = np.empty(len(logits), _precision(logits))
    for start in range(0, len(logits), 8192):
        block = logits[start : start + 8192].astype(confidence.dtype)
        prediction[start : start + 8192] = block.argmax(axis=1)
        block -= block.max(axis=1, keepdims=True)
        np.exp(block, out=block)
        confidence[start : start + 8192] = 1.0 / block.sum(axis=1)
    return prediction, confidence


def are_probabilities(logits: NDArray[np.floating]) -> bool:
    """Whether all N ≥ 2 rows of ``logits`` (N, K), K ≥ 2, are ≥ 0 and sum to 1 within what float16 resolves.

    One row alone may do so by chance.
    """
    if len(logits) < 2 or logits.shape[1] < 2:
        return False
    return all(
        bool((block >= 0).all() and (np.abs(block.sum(axis=1, dtype=np.float64) - 1) <= _SUM).all())
        for block in (logits[start : start + 256] for start in range(0, len(logits), 256))
    )


def _precision(values: NDArray[np.floating]) -> type[np.floating]:
    return np.float64 if values.dtype.itemsize > 4 else np.float32
