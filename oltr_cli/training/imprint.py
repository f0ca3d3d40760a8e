"""A trained network with one more class, made of the features of a few images; nothing is trained.

What a method knows exactly (``Method.class_entries``: the mean in ncm, the centroid in dme) is taken as it is. A row of
a classifier is imprinted: with the classifier's inputs x of the new images at length 1, and the centre c, the mean over
the known classes of theirs,

    row = (mean x − t · c), as long as the other rows are on average;   bias, scale and the like: the mean of the others

With t = 0 this is Qi et al., and what a cosine classifier by class means has. Next to rows that were trained, such a
row takes most images of other classes: those have moved away from what all features have in common, and a mean has not.
So t is the smallest of 0, 0.05, …, 4 at which no more than half a percent of the validation images of known classes are
lost.

Source: Qi et al., "Low-Shot Learning with Imprinted Weights", CVPR 2018.
Deviation: the centre and t.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.method import Method, Scores
from oltr_cli.networks.layers import full_precision
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.new_classes import per_class_entries
from oltr_cli.training.task import build_method

LOSS = 0.005  # share of the validation images of known classes that the new class may cost
SHIFTS = np.arange(81) * 0.05  # of t
_BLOCK = 4096  # samples scored at a time
_AGREEING = 0.99  # least share of equal predictions, features in float16 or bfloat16 allowed for


class Imprinter:
    """Adds a class to the network of a finished run, on the CPU.

    Args:
        old: the network, in eval mode.
        recipe: of the run; ``class_counts``, ``seed``: likewise.
        val: its scores of validation, with features.
    Attributes:
        recipe: of a network with one more class.
    """

    def __init__(self, old: Method, recipe: Recipe, class_counts: Iterable[int], seed: int, val: SavedScores) -> None:
        if old.no_new_class:
            raise UsageProblem(f"{recipe.method} cannot take a new class: {old.no_new_class}")
        if val.features is None:
            raise DataProblem("the scores of val have no features")
        self.old, self.seed, self.counts = old, seed, [int(count) for count in class_counts]
        self.recipe = recipe.model_copy(update={"params": old.params_for_more_classes()})
        self.val, self._labels = torch.from_numpy(np.asarray(val.features, np.float32)), val.labels
        self._axes = per_class_entries(type(old), self.recipe, self.counts, seed)
        self._wide: dict[int, Method] = {}
        prediction = predictions(old, self.val)
        self.accuracy_before = float((prediction == val.labels).mean())
        if (prediction == val.prediction).mean() < _AGREEING:
            raise UsageProblem(
                f"{recipe.method} cannot take a new class: its saved scores do not follow from its features by "
                "score_features"
            )

    def accuracy(self, network: Method) -> float:
        """The share of the validation images whose class is right, among all classes."""
        return float((predictions(network, self.val) == self._labels).mean())

    @torch.no_grad()
    def add(self, features: Tensor) -> tuple[Method, float | None]:
        """The network with a class, the last one, of the images with ``features`` (n, D) of the old network, and t.

        It is valid until the next call with as many images. t is None if all entries are exact.
        """
        network = self._with_room(len(features))
        entries = network.state_dict()  # these tensors are those of the network
        exact = self.old.class_entries(full_precision(features))
        for name, value in exact.items():
            entries[name].select(self._axes[name], -1).copy_(value)
        inputs = _unit(network, features)
        rows = [name for name in self._axes if name not in exact and _is_row(entries[name], inputs.shape[1])]
        if not rows:
            if not exact:
                raise UsageProblem(f"{self.recipe.method} cannot take a new class: its network has no row for one")
            return network, None
        mean, centre = inputs.mean(dim=0), self._centre(network)
        lengths = {name: entries[name][:-1].double().norm(dim=1).mean() for name in rows}

        def holds(place: int) -> bool:
            direction = F.normalize(mean - float(SHIFTS[place]) * centre, dim=0)
            for name in rows:
                entries[name][-1].copy_(direction * lengths[name])
            return self.accuracy_before - self.accuracy(network) <= LOSS + 1e-9

        low, high = 0, len(SHIFTS) - 1  # a larger t leaves more to the known classes
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle + 1, high)
        holds(low)
        return network, float(SHIFTS[low])

    def _with_room(self, images: int) -> Method:
        """The network with an entry for a class of so many images, the mean of the other classes' entries."""
        if images not in self._wide:
            wide = build_method(type(self.old), self.recipe, [*self.counts, images], self.seed).eval()
            old, new = self.old.state_dict(), {}
            for name, tensor in old.items():
                axis = self._axes.get(name)
                if axis is not None:
                    usual = tensor.double().mean(axis, keepdim=True).to(tensor.dtype)
                    tensor = torch.cat([tensor, usual], axis)
                new[name] = tensor
            try:
                wide.load_state_dict(new)
            except RuntimeError:
                raise UsageProblem(
                    f"{self.recipe.method} cannot take a new class: its network for one more has other shapes"
                ) from None
            self._wide[images] = wide
        return self._wide[images]

    def _centre(self, network: Method) -> Tensor:
        """The mean over known classes of the mean of their validation inputs (E,), float64."""
        labels = torch.from_numpy(self._labels)
        inputs, count = _unit(network, self.val), torch.bincount(labels)
        return (inputs / count[labels].unsqueeze(1)).sum(0) / (count > 0).sum()


@torch.inference_mode()
def scores_of(network: Method, features: Tensor) -> Scores:
    """Scores of features (N, D), block by block."""
    parts = [network.score_features(block) for block in _blocks(features)]
    logits, confidence = (torch.cat([getattr(p, name).float() for p in parts]) for name in ("logits", "confidence"))
    return Scores(logits, confidence, features)


@torch.inference_mode()
def predictions(network: Method, features: Tensor) -> NDArray[np.int64]:
    """Predicted labels (N,) for features (N, D)."""
    return torch.cat([network.score_features(block).logits.argmax(dim=1) for block in _blocks(features)]).numpy()


def _is_row(entry: Tensor, inputs: int) -> bool:
    """Whether it is the weight (K, E) of a classifier of inputs (E,)."""
    return entry.is_floating_point() and entry.ndim == 2 and entry.shape[1] == inputs


def _unit(network: Method, features: Tensor) -> Tensor:
    """The classifier's inputs (N, E) for ``features`` (N, D) at length 1, float64."""
    return torch.cat([F.normalize(network.embedding(block).double()) for block in _blocks(features)])


def _blocks(features: Tensor) -> Iterator[Tensor]:
    """Features as a network takes them, ``_BLOCK`` at a time: they are saved as float32."""
    return map(full_precision, features.split(_BLOCK))
