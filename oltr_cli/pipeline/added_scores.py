"""Scores by a network with one more class, from the features that the run of before saved."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from oltr_cli.errors import DataProblem
from oltr_cli.method import Method
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.imprint import scores_of


def rescored(network: Method, before: Run, split: str) -> SavedScores:
    """Scores of a split that a run has features of, by a network with one more class.

    Raises:
        DataProblem: the scores are damaged, or have no features.
    """
    saved = SavedScores.load(before.scores(split))
    if saved.features is None:
        raise DataProblem(f"{before.scores(split)}: has no features")
    features = torch.from_numpy(np.asarray(saved.features, np.float32))
    return saved_by(network, features, saved.labels, saved.paths)


def joined(scores: SavedScores, new: SavedScores) -> SavedScores:
    """The samples of both; an array that one of them lacks is left out."""

    def both(name: str) -> Any:
        a, b = getattr(scores, name), getattr(new, name)
        return None if a is None or b is None else np.concatenate([a, b])

    return SavedScores(**{name: both(name) for name in vars(scores)})


def saved_by(
    network: Method, features: Tensor, labels: np.ndarray | None = None, paths: np.ndarray | None = None
) -> SavedScores:
    """Scores of N samples with ``features`` (N, D) by ``network``; labels are −1 unless they are given."""
    scores = scores_of(network, features)
    logits = scores.logits.numpy()
    given = np.full(len(features), -1, np.int64) if labels is None else labels
    return SavedScores(
        logits.argmax(axis=1), scores.confidence.numpy(), given.astype(np.int64), logits, features.numpy(), paths
    )
