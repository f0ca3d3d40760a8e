"""Training patches that excite single neurons most, for Figure 7.

A neuron is a component of the direct feature v. Its map is the input of the pooling: the feature map after attention,
followed by the extra fc, if there is one, cell by cell (linear, so that the cells' mean is v before the ReLU). A patch
is the area around the image's strongest cell, WIDTH cells wide. The receptive field is larger, but its middle counts
most.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oltr_cli.base.display import Display
from oltr_cli.figures.networks import Opened

PATCHES = 6  # per neuron
WIDTH = 1.5  # of a patch, in cells


@dataclass(frozen=True)
class Patch:
    """Where a training image excites a neuron most: box (left, top, right, bottom) in pixels of the crop."""

    image: str
    class_name: str
    activation: float
    box: tuple[int, int, int, int]
    pixels: NDArray[np.uint8]


@torch.inference_mode()
def neuron_maps(f: Tensor, neurons: NDArray[np.int64], extra_fc: nn.Linear | None) -> Tensor:
    """Activation (B, n, h, w) of the given neurons over the cells of f (B, C, h, w)."""
    which = torch.from_numpy(neurons).to(f.device)
    if extra_fc is None:
        return f[:, which]
    return torch.einsum("nc,bchw->bnhw", extra_fc.weight[which], f) + extra_fc.bias[which].view(1, -1, 1, 1)


def strongest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value (B, n) of each map (B, n, h, w), and the number y·w + x of its cell (B, n)."""
    value, cell = maps.flatten(2).max(dim=2)
    return value, cell


def find_patches(opened: Opened, neurons: NDArray[np.int64], display: Display) -> dict[int, tuple[Patch, ...]]:
    """For each neuron the training patches with the largest activation, one per image."""
    split, names = opened.dataset.splits["train"], opened.dataset.class_names
    indices, values, cells = [], [], []
    shape = (1, 1)
    with display.bar("looking through the training set", len(split)) as bar:
        for batch, f in opened.attended_maps("train", bar.advance):
            maps = neuron_maps(f, neurons, opened.recogniser.network.backbone.extra_fc)
            value, cell = strongest(maps)
            shape = (maps.shape[2], maps.shape[3])
            indices.append(batch)
            values.append(value.double().cpu().numpy())
            cells.append(cell.cpu().numpy())
    index, value_of, cell_of = (np.concatenate(parts) for parts in (indices, values, cells))
    side = opened.recogniser.recipe.data.image_size
    found: dict[int, tuple[Patch, ...]] = {}
    for column, neuron in enumerate(neurons.tolist()):
        patches = []
        for row in np.argsort(-value_of[:, column], kind="stable")[:PATCHES].tolist():
            i = int(index[row])
            box = patch_box(int(cell_of[row, column]), shape, side)
            left, top, right, bottom = box
            pixels = opened.crop("train", i)[top:bottom, left:right]
            patches.append(Patch(split.names[i], names[split.labels[i]], float(value_of[row, column]), box, pixels))
        found[neuron] = tuple(patches)
    return found


def patch_box(cell: int, shape: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the square WIDTH cells wide around a cell's centre, moved to be inside the image.

    Args:
        cell: y·w + x.
        shape: (h, w) of the feature map; its cells divide the ``side`` pixels evenly.
    """
    spans = []
    for place, cells in zip(divmod(cell, shape[1]), shape, strict=True):
        width = min(side, round(WIDTH * side / cells))
        start = round((place + 0.5) * side / cells - width / 2)
        start = min(max(start, 0), side - width)
        spans.append((start, start + width))
    (top, bottom), (left, right) = spans
    return left, top, right, bottom
