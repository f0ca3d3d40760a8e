"""Crops on the device: boxes of a batch, cut from pixels in one flat buffer and resized together.

The resizing is the antialiased one of ``torchvision.transforms.v2.functional.resized_crop``, bilinear (a triangle
filter as wide as the scale) or bicubic (Keys 1981, a = −0.5), as two products with a matrix of weights for each image.
torchvision rounds to whole grey levels after each direction, this only at the end.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.data.feed.boxes import Boxes, Windows

AT_ONCE = 2**25  # elements of the largest tensor: crops are cut from so many images at a time


@dataclass(frozen=True)
class Placed:
    """B boxes in a flat buffer of uint8 pixels (H, W, 3).

    Attributes:
        start: (B,), where the image begins; ``width``: (B,), of the image.
        boxes: (B, 4), top, left, height, width.
        windows: which squares of the boxes are wanted, if not all of each; then boxes are whole images.
    """

    start: NDArray[np.int64]
    width: NDArray[np.int64]
    boxes: Boxes
    windows: Windows | None = None


def crop_batch(pixels: Tensor, placed: Placed, size: int, bicubic: bool = False) -> Tensor:
    """The boxes resized to uint8 (B, 3, size, size), on the device of ``pixels`` (bytes,).

    With windows: the boxes resized to their sizes, cut at their corners; black beside the boxes.
    """
    height, width = placed.boxes[:, 2:].max(axis=0).tolist()
    wanted = placed.windows or Windows(np.full((len(placed.boxes), 2), size), np.zeros((len(placed.boxes), 2), int))
    numbers = np.concatenate(
        [placed.start[:, None], placed.width[:, None], placed.boxes, wanted.sizes, wanted.corners], axis=1
    )
    table = torch.from_numpy(numbers).to(pixels.device, non_blocking=True)
    piece = max(1, AT_ONCE // (3 * height * width))
    parts = [_crop(pixels, rows, height, width, size, bicubic) for rows in table.split(piece)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _crop(pixels: Tensor, table: Tensor, height: int, width: int, size: int, bicubic: bool) -> Tensor:
    start, image_width, top, left, box_height, box_width, *wanted = table.T[..., None]  # (B, 1) each
    new_height, new_width, first_row, first_column = wanted
    rows = torch.arange(height, device=table.device).minimum(box_height - 1) + top  # (B, height)
    columns = torch.arange(width, device=table.device).minimum(box_width - 1) + left
    index = (start + 3 * rows * image_width).unsqueeze(2) + 3 * columns.unsqueeze(1)  # (B, height, width)
    colours = torch.arange(3, device=table.device).view(1, 3, 1, 1)
    # float16 has room for whole grey levels and weights; float32 is as fast on a CPU.
    number = torch.float32 if pixels.device.type == "cpu" else torch.float16
    x = pixels[index.unsqueeze(1) + colours].to(number)  # (B, 3, height, width)
    across = _weights(box_width, width, new_width, first_column, size, bicubic).to(number)
    down = _weights(box_height, height, new_height, first_row, size, bicubic).to(number)
    with torch.autocast(pixels.device.type, enabled=False):
        x = x @ across.transpose(1, 2).unsqueeze(1)
        if bicubic:  # whose weights below 0 overshoot; torchvision cuts that off after each direction
            x = x.clamp_(0, 255)
        x = down.unsqueeze(1) @ x
    return x.round().clamp(0, 255).to(torch.uint8)


def _weights(length: Tensor, longest: int, resized: Tensor, first: Tensor, size: int, bicubic: bool) -> Tensor:
    """Weights (B, size, longest) of a box's ``length`` (B, 1) positions for ``size`` new ones.

    Of ``resized`` (B, 1) new positions those from ``first`` (B, 1) on; those before and after have no weights.
    """
    scale = length.float() / resized
    new = torch.arange(size, device=length.device) + first
    old = torch.arange(longest, device=length.device)
    centre = (new + 0.5) * scale  # (B, size)
    distance = (((old + 0.5).view(1, 1, -1) - centre.unsqueeze(2)) / scale.clamp_min(1).unsqueeze(2)).abs()
    weights = _cubic(distance) if bicubic else (1 - distance).clamp_min(0)
    weights = weights * (old < length).unsqueeze(1)
    weights = weights / weights.sum(2, keepdim=True)
    return torch.where(((new >= 0) & (new < resized)).unsqueeze(2), weights, 0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = −0.5, of distances x ≥ 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))
