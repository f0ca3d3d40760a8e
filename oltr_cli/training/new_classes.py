"""Weights of a finished run for another set of classes, for ``oltr run --from``.

Classes are recognised by their names. What a network has for each class (rows of a classifier, centroids, biases) moves
to the class's new label. A row for a new class is the mean feature of its training images under the old network, less
the mean feature of all old classes, as long as the other rows are on average: without its own images it would be the
row that a classifier by class means has. Biases and everything else start at the mean of the known classes.

Source of the rows, without the centring, which features after a ReLU need: Qi et al., "Low-Shot Learning with Imprinted
Weights", CVPR 2018.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.text import counted, some
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import Split
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.errors import DataProblem
from oltr_cli.method import Method
from oltr_cli.networks.layers import full_precision
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.scoring import BATCH
from oltr_cli.training.task import Task, build_method, load_best


@dataclass(frozen=True)
class _Some:
    """A part of a split."""

    split: Split
    which: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.which)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.split.labels[self.which]

    @property
    def names(self) -> list[str]:
        return [self.split.names[index] for index in self.which]

    def image(self, index: int) -> Tensor:
        return self.split.image(int(self.which[index]))


def for_these_classes(task: Task, parent: Run, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The ``weights`` of ``parent``, a run of the same method, for the classes of the task's dataset.

    Returns:
        the weights, and what was done in words, "" if the classes are the same.
    Raises:
        DataProblem: the run shares no class with the dataset, two classes have one name, or its network is another one.
    """
    old, new = read_result(parent.path), task.dataset.class_names
    for where, names in ((parent.name, old.class_names), (task.dataset.spec.name, new)):
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            raise DataProblem(f"{where}: two classes are called '{twice}', and --from knows classes by their names")
    at = {name: label for label, name in enumerate(old.class_names)}
    source = np.array([at.get(name, -1) for name in new])
    if np.array_equal(source, np.arange(len(old.class_names))):
        return weights, ""
    if (source < 0).all():
        raise DataProblem(f"{parent.name} has none of the classes of {task.dataset.spec.name}; train without --from")
    per_class = per_class_entries(task.cls, task.recipe, task.dataset.class_counts, task.run.seed)
    added = np.flatnonzero(source < 0)
    means = _means(task, parent, old.class_counts, added) if len(added) else None
    known = torch.from_numpy(np.maximum(source, 0))
    fitted = dict(weights)
    for name, axis in per_class.items():
        if name not in weights:
            continue
        if weights[name].shape[axis] != len(old.class_names):
            raise DataProblem(f"{parent.path / 'best.pt'}: {name} has no entry for each class")
        fitted[name] = weights[name].index_select(axis, known)
        if len(added):
            _fill(fitted[name], weights[name], axis, torch.from_numpy(added), means)
    gone = [name for name in at if name not in set(new)]
    done = [f"{counted(int((source >= 0).sum()), 'class')} known by name"]
    done += [f"{len(added)} new, at the means of their features: {some([new[k] for k in added])}"] if len(added) else []
    done += [f"{len(gone)} dropped: {some(gone)}"] if gone else []
    return fitted, "; ".join(done)


def per_class_entries(cls: type[Method], recipe: Recipe, class_counts: Iterable[int], seed: int) -> dict[str, int]:
    """Entry of a network's state → the axis along which it has a place for each class."""
    counts = [int(count) for count in class_counts]
    one, other = (build_method(cls, recipe, given, seed).state_dict() for given in (counts, [*counts, 1]))
    return {
        name: next(axis for axis, (a, b) in enumerate(zip(one[name].shape, other[name].shape, strict=True)) if a != b)
        for name in one
        if one[name].shape != other[name].shape
    }


def _fill(into: Tensor, old: Tensor, axis: int, added: Tensor, means: Tensor | None) -> None:
    """Give the places ``added`` of ``into`` their first values."""
    usual = old.double().mean(axis, keepdim=True).to(old.dtype)
    has_rows = means is not None and axis == 0 and old.ndim == 2 and old.shape[1] == means.shape[1]
    if means is None or not has_rows or not old.is_floating_point():
        into.index_copy_(axis, added, usual.expand([len(added) if a == axis else s for a, s in enumerate(into.shape)]))
        return
    length = old.norm(dim=1).mean()
    into.index_copy_(0, added, (means / means.norm(dim=1, keepdim=True).clamp_min(1e-12) * length).to(into.dtype))


@torch.inference_mode()
def _means(task: Task, parent: Run, class_counts: list[int], added: NDArray[np.intp]) -> Tensor:
    """Mean features (number of ``added``, E) of those classes, less the mean of the old classes; float64."""
    device = task.accelerator.device
    old = load_best(parent, task.cls, task.recipe, class_counts).to(device).eval()
    train = task.dataset.splits["train"]
    part = _Some(train, np.flatnonzero(np.isin(train.labels, added)))
    place = torch.full((len(task.dataset.class_names),), -1)
    place[torch.from_numpy(added)] = torch.arange(len(added))
    transform = DeviceTransform(task.recipe.data, device)
    sums: Tensor | None = None
    counts = torch.zeros(len(added), dtype=torch.float64)
    with task.display.bar("new classes", len(part)) as bar:
        for batch in evaluation_batches(part, task.recipe.data, BATCH, task.workers, skip_undecodable=True):
            if not len(batch.labels):
                continue
            inputs = _inputs(old, old(transform.evaluate(batch.images)).features)
            sums = inputs.new_zeros(len(added), inputs.shape[1]) if sums is None else sums
            rows = place[batch.labels]
            sums.index_add_(0, rows, inputs)
            counts += torch.bincount(rows, minlength=len(added))
            bar.advance(len(batch.labels))
    if sums is None or (counts == 0).any():
        empty = task.dataset.class_names[int(added[int((counts == 0).nonzero()[0])])]
        raise DataProblem(f"no training image of class '{empty}' can be decoded")
    return sums / counts.unsqueeze(1) - _centre(old, parent, device)


def _centre(old: Method, parent: Run, device: torch.device) -> Tensor:
    """The mean over old classes of their mean feature (E,), float64, from the saved scores of validation."""
    val = SavedScores.load(parent.scores("val"))
    if val.features is None:
        raise DataProblem(f"{parent.scores('val')}: has no features")
    inputs = _inputs(old, torch.from_numpy(np.asarray(val.features, np.float32)).to(device))
    counts = torch.from_numpy(np.bincount(val.labels)[val.labels]).double()
    return (inputs / counts.unsqueeze(1)).sum(0) / len(np.unique(val.labels))


def _inputs(method: Method, features: Tensor) -> Tensor:
    """The classifier's inputs for ``features``, float64 on the CPU: not every device has float64."""
    return method.embedding(full_precision(features)).cpu().double()
