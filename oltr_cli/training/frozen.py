"""Features of a frozen backbone: computed once, saved on disk, and read by every head that is trained on them.

With ``train.freeze_backbone`` the backbone's output for an image is the same in every epoch if its input is: images get
the evaluation transform, and such a run uses no augmentation. The feature map is saved, or the feature for a method
that does not need the map (``Method.needs_map``); a fc after the pooling is trained and is not part of it.

They are in ``frozen/<key>/`` of the run that the backbone comes from, where all runs that start from it find them. The
key is a digest of the backbone's weights, the transform, the list and the precision.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.markup import escape
from torch import Tensor

from oltr_cli.base.arrays import load_npy
from oltr_cli.base.files import new_folder
from oltr_cli.base.locks import Lock
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.errors import OltrError
from oltr_cli.method import Method
from oltr_cli.networks.backbones import Backbone, Given
from oltr_cli.recipe.specs import DataSpec
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.contract import check_scores
from oltr_cli.training.scoring import BATCH
from oltr_cli.training.task import Task

AUGMENTATION = {
    "name",
    "crop_scale",
    "crop_ratio",
    "crop_padding",
    "flip",
    "color_jitter",
    "rand_augment",
    "random_erasing",
}  # of DataSpec; the rest is in the key
_DIGEST = "sha256"  # file with a digest of the other two
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class FrozenFeatures:
    """The frozen backbone's output for the N images of a split that can be decoded.

    Attributes:
        kind: "maps" or "pooled".
        features: (N, C, h, w) float32, memory-mapped from the file; h = w = 1 if pooled.
        labels: (N,).
        left_out: indices into the split of the images that cannot be decoded.
    """

    kind: Given
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    left_out: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, which: slice | NDArray[np.int64]) -> Tensor:
        """Features of some rows, in memory, in the layout of the backbone's output."""
        return torch.from_numpy(np.array(self.features[which])).to(memory_format=torch.channels_last)


def frozen_features(task: Task, method: Method, split: str) -> FrozenFeatures:
    """The features of a split, computed if they are not stored yet.

    Args:
        method: on the device, with the weights of its backbone in place.
    Raises:
        DataProblem: an image of a split other than train cannot be decoded.
        OltrError: the disk is full or cannot be written.
    """
    kind: Given = "maps" if method.needs_map else "pooled"
    images, spec, backbone = task.dataset.splits[split], task.recipe.data, method.backbone
    home = (task.parent or task.run).frozen
    folder = home / _key(backbone, images, spec, kind, task.accelerator.mixed_precision)
    side = backbone.map_size(spec.image_size) if kind == "maps" else (1, 1)
    shape = (len(images), backbone.map_channels if kind == "maps" else backbone.pooled_channels, *side)
    # One process computes while the others wait, whether they belong to one command or to several.
    with task.accelerator.main_process_first(), _lock(home):
        found = _read(folder, kind, images, shape)
        if found is None:
            if folder.exists():
                task.display.warn(f"{folder}: is damaged; the features are computed again")
            what = f"{'feature maps' if kind == 'maps' else 'features'} of {split}"
            task.display.say(f"[dim]saving {what}, {4 * np.prod(shape) / 1e6:,.0f} MB, in {escape(str(home))}[/]")
            with task.display.bar(what, len(images)) as bar:
                _write(folder, shape, lambda out: _compute(task, backbone, split, kind, out, bar.advance))
            found = _read(folder, kind, images, shape)
    if found is None:
        raise OltrError(f"{folder}: features written there cannot be read back")
    return found


@torch.inference_mode()
def score_frozen(method: Method, kept: FrozenFeatures, accelerator: Accelerator) -> SavedScores:
    """Prediction and confidence of every row of ``kept``."""
    method.eval()
    parts = []
    for start in range(0, len(kept), BATCH):
        features = kept.rows(slice(start, start + BATCH)).to(accelerator.device)
        with accelerator.autocast(), method.backbone.taking(kept.kind):
            scores = method(features)
        check_scores(method.forward, scores, len(features), method.setup.num_classes)
        parts.append((scores.logits.float().argmax(dim=1).cpu().numpy(), scores.confidence.float().cpu().numpy()))
    prediction, confidence = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SavedScores(prediction, confidence, kept.labels)


def _key(backbone: Backbone, images: Split, spec: DataSpec, kind: Given, precision: str) -> str:
    digest = hashlib.sha256(f"{kind} {precision} {spec.model_dump_json(exclude=AUGMENTATION)}".encode())
    for name, tensor in backbone.state_dict().items():
        if not name.startswith("extra_fc"):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(images.labels).tobytes() + "\n".join(images.names).encode())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _compute(
    task: Task,
    backbone: Backbone,
    split: str,
    kind: Given,
    out: NDArray[np.float32],
    advance: Callable[[int], None],
) -> NDArray[np.int64]:
    """Fill the first rows of ``out`` (N, C, h, w) with the images that can be decoded; returns their indices."""
    backbone.eval()
    spec = task.recipe.data
    transform = DeviceTransform(spec, task.accelerator.device)
    done: list[NDArray[np.int64]] = []
    filled = 0
    images = task.dataset.splits[split]
    for batch in evaluation_batches(images, spec, BATCH, task.workers, skip_undecodable=split == "train"):
        with task.accelerator.autocast():
            pixels = transform.evaluate(batch.images)
            given = (
                backbone.feature_map(pixels) if kind == "maps" else backbone.compute_pooled(pixels)[:, :, None, None]
            )
        out[filled : filled + len(given)] = given.float().cpu().numpy()
        filled += len(given)
        done.append(batch.indices.numpy())
        advance(len(given))
    return np.concatenate(done) if done else np.empty(0, np.int64)


def _lock(home: Path) -> Lock:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OltrError(f"{home}: cannot be created ({error.strerror})") from None
    return Lock(home / ".lock")


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("indices.npy", "features.npy"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read(folder: Path, kind: Given, images: Split, shape: Shape) -> FrozenFeatures | None:
    """What ``_write`` stored, or None if it is missing or has changed."""
    try:
        indices = load_npy(folder / "indices.npy")
        features = load_npy(folder / "features.npy", "r")
        if (folder / _DIGEST).read_text() != _digest(folder):
            return None
    except (OSError, ValueError):
        return None
    if features.shape != shape or features.dtype != np.float32 or indices.ndim != 1 or len(indices) > len(features):
        return None
    left_out = np.setdiff1d(np.arange(len(images)), indices).tolist()
    return FrozenFeatures(kind, features[: len(indices)], np.asarray(images.labels)[indices], left_out)


def _write(folder: Path, shape: Shape, fill: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> None:
    """Write a temporary folder and rename it to ``folder``; the caller holds the lock."""
    for stale in folder.parent.glob(".*.tmp"):  # from a process that was killed here
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with new_folder(folder) as new:
            features = np.lib.format.open_memmap(new / "features.npy", "w+", np.float32, shape)
            indices = fill(features)
            features.flush()
            np.save(new / "indices.npy", indices, allow_pickle=False)
            (new / _DIGEST).write_text(_digest(new))
    except OSError as error:
        raise OltrError(f"cannot write {folder}: {error}") from error
