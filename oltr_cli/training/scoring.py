"""From a trained method and a split to saved scores: the only place where evaluation uses the network."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.errors import NotFinite
from oltr_cli.method import FeatureMethod, Method, Scores
from oltr_cli.networks.layers import full_precision
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.contract import check_scores

BATCH = 256  # fixed, so that a run's scores do not depend on its training batch
FEATURE_BLOCK = 4096


@torch.inference_mode()
def rows_of_split(
    method: nn.Module,
    split: Split,
    spec: DataSpec,
    accelerator: Accelerator,
    workers: int,
    keep: Callable[[Scores], Iterable[Tensor]],
    *,
    skip_undecodable: bool = False,
    advance: Callable[[int], None] = lambda images: None,
) -> list[NDArray]:
    """What ``keep`` selects from the scores of every image of ``split``, computed by all processes together.

    Args:
        method: a module that turns images into ``Scores``.
        keep: returns tensors with one row per image of a batch.
        skip_undecodable: leave out images that cannot be decoded, as training does.
        advance: called with the number of images done.
    Returns:
        The images' indices in the split, ascending, then an array for each tensor of ``keep``, one row per image.
    Raises:
        DataProblem: an image cannot be decoded; the message names it.
    """
    method.eval()
    transform = DeviceTransform(spec, accelerator.device)
    parts: list[list[NDArray]] = []
    share = (accelerator.process_index, accelerator.num_processes)
    for batch in evaluation_batches(split, spec, BATCH, workers, *share, skip_undecodable=skip_undecodable):
        with accelerator.autocast():
            scores = method(transform.evaluate(batch.images))
        if isinstance(method, Method):
            check_scores(method.forward, scores, len(batch.images), method.setup.num_classes)
        parts.append([batch.indices.numpy(), *map(as_numpy, keep(scores))])
        advance(len(batch.indices) * accelerator.num_processes)
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    parts.sort(key=lambda part: part[0][0])  # each batch is a contiguous part of the split
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def score_split(
    method: nn.Module,
    split: Split,
    spec: DataSpec,
    accelerator: Accelerator,
    workers: int,
    *,
    keep_all: bool = True,
    skip_undecodable: bool = False,
    advance: Callable[[int], None] = lambda images: None,
) -> SavedScores:
    """Scores of every image of ``split`` in order; arguments and errors as for ``rows_of_split``.

    Args:
        keep_all: with logits, features and names; validation during training needs only prediction and confidence.
    """

    def keep(scores: Scores) -> list[Tensor]:
        logits = scores.logits.float()
        few = [logits.argmax(dim=1), scores.confidence.float()]
        return [*few, logits, scores.features.float()] if keep_all else few

    indices, prediction, confidence, *rest = rows_of_split(
        method, split, spec, accelerator, workers, keep, skip_undecodable=skip_undecodable, advance=advance
    )
    check_finite(confidence, rest)
    logits, features = rest if keep_all else (None, None)
    names = np.array(split.names)[indices] if keep_all else None
    return SavedScores(prediction, confidence, np.asarray(split.labels)[indices], logits, features, names)


@torch.inference_mode()
def score_features(
    method: FeatureMethod, features: torch.Tensor, labels: np.ndarray, names: np.ndarray | None = None
) -> SavedScores:
    """Scores of saved features (N, D); logits, features and names are kept if names are given."""
    method.eval()
    parts = []
    for start in range(0, len(features), FEATURE_BLOCK):
        block = full_precision(features[start : start + FEATURE_BLOCK])  # they are saved as float32
        scores = method.score_features(block)
        check_scores(method.score_features, scores, len(block), method.setup.num_classes)
        logits = scores.logits.float()
        row = [as_numpy(logits.argmax(dim=1)), as_numpy(scores.confidence.float())]
        parts.append(row + ([as_numpy(logits), as_numpy(scores.features.float())] if names is not None else []))
    prediction, confidence, *rest = (np.concatenate(column) for column in zip(*parts, strict=True))
    check_finite(confidence, rest)
    logits_all, features_all = rest if names is not None else (None, None)
    return SavedScores(prediction, confidence, labels, logits_all, features_all, names)


def check_finite(confidence: NDArray, others: list[NDArray]) -> None:
    """Weights may be finite while what they give is not."""
    if np.isnan(confidence).any() or not all(np.isfinite(array).all() for array in others):
        raise NotFinite("training diverged: the network's scores are not finite; lower train.lr")


def as_numpy(tensor: Tensor) -> NDArray:
    return tensor.cpu().numpy()
