"""A finished run's network and its images, for the figures that need more than saved scores (3, 4, 7)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.machine import default_workers, make_accelerator
from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import OpenedDataset, Split, open_dataset
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures.request import Request
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.networks.layers import Attention, full_precision
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores

BATCH = 128


@dataclass(frozen=True)
class Opened:
    """A run's network on its device, in eval mode, with the dataset it was trained on."""

    run: Run
    recogniser: Recogniser
    dataset: OpenedDataset

    @classmethod
    def load(cls, run: Run, request: Request) -> "Opened":
        """The network and the images of a run.

        Raises:
            DataProblem: the dataset is missing.
            UsageProblem: the run is not finished.
        """
        recogniser = load_network(run, request)
        with request.display.bar("opening the dataset", 1) as bar:
            dataset = open_dataset(recogniser.recipe.data, bar.reached)
        if recogniser.result.data_digest not in (None, dataset.digest):
            request.display.warn(
                f"{run.dataset} has changed since {run.name} was made; the figure shows it as it is now"
            )
        return cls(run, recogniser, dataset)

    @property
    def attention(self) -> Attention | None:
        found = getattr(self.recogniser.network, "attention", None)
        return found if isinstance(found, Attention) else None

    def crop(self, split: str, index: int) -> NDArray[np.uint8]:
        """The network's input for an image, before normalisation: uint8 (S, S, 3)."""
        image = evaluation_crop(self.dataset.splits[split].image(index), self.recogniser.recipe.data)
        return image.expand(3, -1, -1).permute(1, 2, 0).numpy().copy()

    @torch.inference_mode()
    def feature_maps(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Last feature maps f (B, C, h, w), before attention, of uint8 crops (S, S, 3)."""
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        network = self.recogniser.network
        return full_precision(network.backbone.feature_map(self.recogniser.transform.evaluate(images)))

    def attended_maps(self, split: str, advance: Callable[[int], None]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """(indices (B,), f after attention (B, C, h, w)) over a split; images that cannot be decoded are left out."""
        data, transform = self.recogniser.recipe.data, self.recogniser.transform
        for batch in evaluation_batches(
            self.dataset.splits[split], data, BATCH, default_workers(), skip_undecodable=True
        ):
            with torch.inference_mode():
                f = self.recogniser.network.backbone.feature_map(transform.evaluate(batch.images))
                f = full_precision(f if self.attention is None else self.attention(f))
            yield batch.indices.numpy(), f
            advance(len(batch.indices))


def load_network(run: Run, request: Request) -> Recogniser:
    """The network of a finished run, on the requested device."""
    return Recogniser.load(run.path, make_accelerator(request.device).device)


def pick_images(names: Sequence[str], split: Split) -> list[int]:
    """The positions in a split of images named in full or by a part that matches only one.

    Raises:
        UsageProblem: a name matches none, or several (some are named).
    """
    chosen = []
    for name in names:
        exact = [i for i, known in enumerate(split.names) if known == name]
        fitting = exact or [i for i, known in enumerate(split.names) if name in known]
        if not fitting:
            alike = get_close_matches(name, split.names[:5000], n=1, cutoff=0.5)
            raise UsageProblem(
                f"--image: no test image '{name}'; "
                + (f"did you mean '{alike[0]}'?" if alike else f"names look like {split.names[0]}")
            )
        if len(fitting) > 1:
            some = ", ".join(split.names[i] for i in fitting[:3])
            raise UsageProblem(f"--image: '{name}' matches {len(fitting)} test images: {some}, …; name one of them")
        chosen.append(fitting[0])
    return chosen


def places(scores: SavedScores, split: Split, where: str) -> NDArray[np.int64]:
    """Position in the split of each saved sample (N,).

    Raises:
        DataProblem: the scores hold no names, or one that the dataset no longer has.
    """
    if scores.paths is None:
        raise DataProblem(f"{where}: has no sample names")
    at = {name: i for i, name in enumerate(split.names)}
    missing = next((str(path) for path in scores.paths if str(path) not in at), None)
    if missing is not None:
        raise DataProblem(f"{where}: was made from other images; the dataset has no '{missing}'")
    return np.array([at[str(path)] for path in scores.paths], np.int64)
