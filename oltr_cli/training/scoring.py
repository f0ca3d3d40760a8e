"""From a trained method and a split to saved scores: the only place where evaluation touches the network."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.method import FeatureMethod
from oltr_cli.recipe.specs import DataSpec
from oltr_cli.runs.scores import SavedScores

BATCH = 256  # fixed, so that a run's scores do not depend on its training batch
FEATURE_BLOCK = 4096


@torch.inference_mode()
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
    """Scores of every image of ``split`` in order, computed in shares by all processes.

    Args:
        method: a module that turns images into ``Scores``.
        keep_all: with logits, features and names; validation during training needs only prediction and confidence.
        skip_undecodable: leave out images that cannot be decoded, as training does.
        advance: called with the number of images done.
    Raises:
        DataProblem: an image cannot be decoded; the message names it.
    """
    method.eval()
    transform = DeviceTransform(spec, accelerator.device)
    parts: list[tuple[np.ndarray, ...]] = []
    share = (accelerator.process_index, accelerator.num_processes)
    for batch in evaluation_batches(split, spec, BATCH, workers, *share, skip_undecodable=skip_undecodable):
        with accelerator.autocast():
            scores = method(transform.evaluate(batch.images))
        logits = scores.logits.float()
        row = [batch.indices.numpy(), _numpy(logits.argmax(dim=1)), _numpy(scores.confidence.float())]
        if keep_all:
            row += [_numpy(logits), _numpy(scores.features.float())]
        parts.append(tuple(row))
        advance(len(batch.indices) * accelerator.num_processes)
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0])
    indices, prediction, confidence, *rest = (column[order] for column in columns)
    logits_all, features = rest if keep_all else (None, None)
    names = np.array(split.names)[indices] if keep_all else None
    return SavedScores(prediction, confidence, np.asarray(split.labels)[indices], logits_all, features, names)


@torch.inference_mode()
def score_features(
    method: FeatureMethod, features: torch.Tensor, labels: np.ndarray, names: np.ndarray | None = None
) -> SavedScores:
    """Scores of features (N, D) that were saved before; logits, features and names are kept if names are given."""
    method.eval()
    parts = []
    for start in range(0, len(features), FEATURE_BLOCK):
        scores = method.score_features(features[start : start + FEATURE_BLOCK])
        logits = scores.logits.float()
        row = [_numpy(logits.argmax(dim=1)), _numpy(scores.confidence.float())]
        parts.append(row + ([_numpy(logits), _numpy(scores.features.float())] if names is not None else []))
    prediction, confidence, *rest = (np.concatenate(column) for column in zip(*parts, strict=True))
    logits_all, features_all = rest if names is not None else (None, None)
    return SavedScores(prediction, confidence, labels, logits_all, features_all, names)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
