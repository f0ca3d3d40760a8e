"""Features of a frozen backbone: computed once, saved on disk, and read by every head that is trained on them.

With ``train.freeze_backbone`` the backbone's output for an image is the same in every epoch if its input is: images get
the evaluation transform, and such a run uses no augmentation. The feature map is saved, or the feature for a method
that does not need the map (``Method.needs_map``); a fc after the pooling is trained and is not part of it.

They are in ``frozen/<key>/`` of the run that trained the backbone, where all runs that go back to it find them. If none
has trained it, because its weights come from a file or the hub, they are in ``$OLTR_CACHE/features``. The key is a
digest of the backbone's weights, the transform, the list and the precision.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.markup import escape
from torch import Tensor

from oltr_cli.base.display import Bar
from oltr_cli.base.locks import Lock
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.data.store.features import FeaturesFolder
from oltr_cli.data.store.split import digest_of_files
from oltr_cli.errors import NotFinite, OltrError, UsageProblem
from oltr_cli.method import Method
from oltr_cli.networks.backbones import Backbone, Given
from oltr_cli.networks.layers import full_precision
from oltr_cli.planning.which_run import parent_of, trains_backbone
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.contract import check_scores
from oltr_cli.training.feature_file import FeatureFile
from oltr_cli.training.scoring import BATCH, as_numpy, check_finite
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


@dataclass(frozen=True)
class FrozenFeatures:
    """The frozen backbone's output for the n images of a split that can be decoded.

    Attributes:
        kind: "maps" or "pooled".
        features: (n, C, h, w) float32 or float16, memory-mapped from the file; h = w = 1 if pooled.
        labels: (n,).
        indices: (n,) into the split, ascending.
        left_out: indices into the split of the images that cannot be decoded.
    """

    kind: Given
    features: NDArray[np.floating]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    left_out: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, which: slice | NDArray[np.int64]) -> Tensor:
        """Features of some rows, in torch's default precision, in memory, in the layout of the backbone's output."""
        return full_precision(torch.from_numpy(np.array(self.features[which]))).to(memory_format=torch.channels_last)

    def batches(self) -> Iterator[slice]:
        """The rows of each batch in which the split is scored from images, so that scores have the same bits."""
        images = len(self) + len(self.left_out)
        bounds = np.searchsorted(self.indices, [*range(0, images, BATCH), images]).tolist()
        return (slice(a, b) for a, b in pairwise(bounds) if a < b)


def frozen_features(task: Task, method: Method, split: str, bar: Bar | None = None) -> FrozenFeatures:
    """The features of a split, computed if they are not stored yet, or only what a killed process has left.

    Args:
        method: on the device, with the weights of its backbone in place.
        bar: counts the images; None to show one if there is something to compute.
    Raises:
        DataProblem: an image of a split other than train cannot be decoded.
        NotFinite: features contain NaN or infinity.
        UsageProblem: they are too large for float16.
        OltrError: the disk is full or cannot be written.
    """
    kind: Given = "maps" if method.needs_map else "pooled"
    images, spec, backbone = task.dataset.splits[split], task.recipe.data, method.backbone
    dtype = np.float16 if task.recipe.train.frozen_precision == "float16" else np.float32
    side = backbone.map_size(spec.image_size) if kind == "maps" else (1, 1)
    shape = (len(images), backbone.map_channels if kind == "maps" else backbone.pooled_channels, *side)
    computed = "float64" if torch.get_default_dtype() == torch.float64 else task.accelerator.mixed_precision
    folder = _folder(task, backbone, images, f"{kind} {computed}", dtype)
    # One process computes while the others wait, whether they belong to one command or to several.
    with task.accelerator.main_process_first(), _locked(task, folder):
        file = FeatureFile(folder, shape, dtype)
        if file.damaged:
            task.display.warn(f"{folder}: is damaged; its features are computed again from image {file.end:,} on")
        if not file.complete:
            _complete(task, backbone, split, kind, file, bar)
        elif bar is not None:
            bar.advance(len(images))
    indices = np.setdiff1d(np.arange(len(images)), file.left_out, assume_unique=True)
    return FrozenFeatures(kind, file.features(), np.asarray(images.labels)[indices], indices, file.left_out)


@torch.inference_mode()
def score_frozen(
    method: Method, kept: FrozenFeatures, accelerator: Accelerator, names: list[str] | None = None
) -> SavedScores:
    """Scores of every row of ``kept``: as ``score_split`` gives them, on a CPU bit for bit if ``kept`` is float32.

    Args:
        names: of all images of the split; logits, features and names are kept if they are given.
    """
    method.eval()
    parts = []
    for rows in kept.batches():
        features = kept.rows(rows).to(accelerator.device)
        with accelerator.autocast(), method.backbone.taking(kept.kind):
            scores = method(features)
        check_scores(method.forward, scores, len(features), method.setup.num_classes)
        logits = scores.logits.float()
        row = [as_numpy(logits.argmax(dim=1)), as_numpy(scores.confidence.float())]
        parts.append(row + ([as_numpy(logits), as_numpy(scores.features.float())] if names is not None else []))
    prediction, confidence, *rest = (np.concatenate(column) for column in zip(*parts, strict=True))
    check_finite(confidence, rest)
    if names is None:
        return SavedScores(prediction, confidence, kept.labels)
    logits_all, features_all = rest
    return SavedScores(prediction, confidence, kept.labels, logits_all, features_all, np.array(names)[kept.indices])


def _folder(task: Task, backbone: Backbone, images: Split, kind: str, dtype: type[np.floating]) -> Path:
    """Where the features of a split are, or are to be."""
    spec = task.recipe.data
    digest = hashlib.sha256(spec.model_dump_json(exclude=AUGMENTATION).encode())
    for name, tensor in backbone.state_dict().items():
        if not name.startswith("extra_fc"):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    key = hashlib.sha256(f"{kind} {np.dtype(dtype).name} ".encode() + digest.digest())
    key.update(np.ascontiguousarray(images.labels).tobytes() + "\n".join(images.names).encode())
    run = task.parent
    while run is not None and trains_backbone(run) is False:
        run = parent_of(run)
    if run is not None:
        home = run.frozen
    else:  # nobody has trained it here
        of = task.recipe.backbone
        home = FeaturesFolder(spec.name, of.name, of.weights, digest.hexdigest()).create()
        key.update(digest_of_files(images))
    return home / key.hexdigest()[:16]


@torch.inference_mode()
def _complete(task: Task, backbone: Backbone, split: str, kind: Given, file: FeatureFile, bar: Bar | None) -> None:
    """Compute what ``file`` lacks, in the batches in which a split is scored from images."""
    backbone.eval()
    images, spec = task.dataset.splits[split], task.recipe.data
    transform = DeviceTransform(spec, task.accelerator.device)
    what = f"{'feature maps' if kind == 'maps' else 'features'} of {split}"
    size = f"{file.dtype.itemsize * np.prod(file.shape) / 1e6:,.0f} MB"
    there = f", going on after {file.end:,} of {len(images):,} images" if file.end else ""
    task.display.say(f"[dim]saving {what}, {size}, in {escape(str(file.folder.parent))}{there}[/]")
    with ExitStack() as stack:
        if bar is None:
            bar = stack.enter_context(task.display.bar(what, len(images)))
        bar.advance(file.end, per_step=0)
        stack.enter_context(file.writing())
        loaded = evaluation_batches(
            images, spec, BATCH, task.workers, skip_undecodable=split == "train", first=file.end
        )
        for batch in loaded:
            with task.accelerator.autocast():
                pixels = transform.evaluate(batch.images)
                given = (
                    backbone.feature_map(pixels)
                    if kind == "maps"
                    else backbone.compute_pooled(pixels)[:, :, None, None]
                )
            indices = batch.indices.numpy()
            end = min(int(indices[0]) // BATCH * BATCH + BATCH, len(images))
            done = end - file.end
            file.append(end, indices, _stored(given.float(), file, what))
            bar.advance(done)
        if file.end < len(images):  # none of the last images can be decoded
            file.append(len(images), np.empty(0, np.int64), np.empty((0, *file.shape[1:]), file.dtype))


def _stored(features: Tensor, file: FeatureFile, what: str) -> NDArray[np.floating]:
    """Features as they are stored.

    Raises:
        NotFinite, UsageProblem: they cannot be.
    """
    if not features.isfinite().all():
        raise NotFinite(f"{what} contain NaN or infinity: the weights of the backbone do not fit its images")
    if file.dtype == np.float16:
        largest = float(features.abs().max())
        features = features.half()
        if not features.isfinite().all():
            raise UsageProblem(
                f"{what} are up to {largest:.3g}, too large for train.frozen_precision = float16; leave it out"
            )
    return features.cpu().numpy()


@contextmanager
def _locked(task: Task, folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made; say so if another process works there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OltrError(f"{folder}: cannot be created ({error.strerror})") from None
    waiting = f"[dim]another process computes the features in {escape(str(folder))}; waiting for it[/]"
    with Lock(folder / ".lock").held(lambda: task.display.say(waiting), poll_interval=0.05):
        yield
