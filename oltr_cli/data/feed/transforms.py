"""Augmentation in two halves: crops in the workers, image by image; colour, flip and normalisation on the device, a
whole batch at once. Every random number is keyed by (seed, epoch, place), see ``oltr_cli.base.seeding``.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment
from torchvision.transforms.v2 import functional as F

from oltr_cli.base.seeding import derive, generator
from oltr_cli.data.feed.boxes import erased_boxes
from oltr_cli.recipe.data import DataSpec

_FILTERS = {None: InterpolationMode.BILINEAR, **{mode.value: mode for mode in InterpolationMode}}
_LONGEST = 16  # times the shorter side; more of an image is not resized to cut out its middle
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as torchvision's saturation uses


def shrunk(image: Tensor, side: int | None) -> Tensor:
    """An image (C, H, W) with its shorter side at most ``side``; unchanged if it is smaller or ``side`` is None."""
    if side is None or min(image.shape[-2:]) <= side:
        return image
    return F.resize(image, [side], antialias=True)


def training_crop(image: Tensor, spec: DataSpec, rng: np.random.Generator) -> Tensor:
    """RandomResizedCrop (Szegedy et al. 2015): area in ``crop_scale``, aspect ratio in ``crop_ratio``.

    Args:
        image: uint8 (C, H, W).
    Returns:
        uint8 (C, image_size, image_size).
    """
    height, width = image.shape[-2:]
    low, high = math.log(spec.crop_ratio[0]), math.log(spec.crop_ratio[1])
    for _ in range(10):
        area = height * width * rng.uniform(*spec.crop_scale)
        ratio = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return _resized(image, (top, left, h, w), spec)
    side = min(height, width)  # an extreme shape: the largest square in the middle
    return _resized(image, ((height - side) // 2, (width - side) // 2, side, side), spec)


def box_crop(image: Tensor, box: Sequence[int], spec: DataSpec) -> Tensor:
    """The box (top, left, height, width) of an image (C, H, W), resized to uint8 (C, image_size, image_size)."""
    return _resized(image, box, spec)


def _resized(image: Tensor, box: Sequence[int], spec: DataSpec) -> Tensor:
    size = [spec.image_size, spec.image_size]
    return F.resized_crop(image, *box, size, _FILTERS[spec.interpolation], antialias=True)


def rand_augmented(image: Tensor, spec: DataSpec, key: tuple[int | str, ...]) -> Tensor:
    """RandAugment (Cubuk et al. 2020) of an image, uint8 (C, H, W), by torchvision; unchanged if the recipe has none.

    torchvision draws from torch's global generator, which is therefore seeded by ``key`` and then put back.
    """
    if spec.rand_augment is None:
        return image
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(*key))
        return RandAugment(*spec.rand_augment)(image)


def padded_crop(image: Tensor, corner: Sequence[int], spec: DataSpec) -> Tensor:
    """The square at ``corner`` (row, column, may be negative) of an image (C, H, W), resized as for evaluation.

    Returns:
        uint8 (C, image_size, image_size), black where the square is beside the image.
    """
    return F.crop(_shorter_side(image, spec), *corner, spec.image_size, spec.image_size)


def _shorter_side(image: Tensor, spec: DataSpec) -> Tensor:
    """The image with a shorter side of ``eval_resize``."""
    if min(image.shape[-2:]) == spec.eval_resize:
        return image
    return F.resize(image, [spec.eval_resize], _FILTERS[spec.interpolation], antialias=True)


def _middle(image: Tensor) -> Tensor:
    """The image (…, C, H, W) with its longer side cut to ``_LONGEST`` times the shorter one, around the middle."""
    height, width = image.shape[-2:]
    most = _LONGEST * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return image[..., top : top + most, left : left + most]


def evaluation_crop(image: Tensor, spec: DataSpec) -> Tensor:
    """Shorter side to ``eval_resize``, then the middle ``image_size`` square; uint8 (…, C, H, W) in and out.

    With a ``store_side`` larger images are first shrunk to it, as in a store. Of a longer image than 16 : 1 only the
    middle is resized: one of 1 × 2,000,000 pixels, in a file of 8 kB, would take gigabytes.
    """
    image = _shorter_side(_middle(shrunk(image, spec.store_side)), spec)
    return F.center_crop(image, [spec.image_size, spec.image_size])


class DeviceTransform:
    """The half that runs on the device, on batches of uint8 images."""

    def __init__(self, spec: DataSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
        self.luma = torch.tensor(_LUMA, device=device).view(1, 3, 1, 1)

    def evaluate(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, H, W) → normalised (B, 3, H, W) in torch's default precision, channels last."""
        images = images.to(self.device, non_blocking=True).expand(-1, 3, -1, -1)
        scaled = images.to(memory_format=torch.channels_last, dtype=torch.get_default_dtype()).div_(255)
        return scaled.sub_(self.mean).div_(self.std)

    def train(self, images: Tensor, key: tuple[int | str, ...], share: slice) -> Tensor:
        """As ``evaluate`` after flip and colour jitter, with boxes erased after it (0, the mean of the channel).

        The draws are made from ``key`` for a whole batch, of which ``images`` are the rows ``share``.
        """
        images = images.to(self.device, non_blocking=True).expand(-1, 3, -1, -1)
        x = images.to(memory_format=torch.channels_last, dtype=torch.get_default_dtype()).div_(255)
        drawn = generator(*key).random((share.stop, 4), dtype=np.float32)[share].T
        draws = torch.from_numpy(drawn.copy()).to(self.device, non_blocking=True)
        if self.spec.flip:
            x = torch.where((draws[0] < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
        x = self._jitter(x, draws[1:]).sub_(self.mean).div_(self.std)
        if self.spec.random_erasing is None:
            return x
        boxes = erased_boxes(x.shape[-1], self.spec.random_erasing, (*key, "erasing"), share)
        return x.masked_fill_(_inside(torch.from_numpy(boxes).to(self.device, non_blocking=True), x.shape[-1]), 0)

    def _jitter(self, x: Tensor, draws: Tensor) -> Tensor:
        """Brightness, contrast, saturation in this order, factors uniform in 1 ± strength, one per sample."""
        strengths = self.spec.color_jitter
        factors = [(1 + s * (2 * d - 1)).view(-1, 1, 1, 1) for s, d in zip(strengths, draws, strict=True)]
        if strengths[0]:
            x = (x * factors[0]).clamp_(0, 1)
        if strengths[1]:
            mean = (x * self.luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
            x = ((x - mean) * factors[1] + mean).clamp_(0, 1)
        if strengths[2]:
            grey = (x * self.luma).sum(1, keepdim=True)
            x = ((x - grey) * factors[2] + grey).clamp_(0, 1)
        return x


def _inside(boxes: Tensor, side: int) -> Tensor:
    """Which pixels of square images are inside of their boxes (B, 4): (B, 1, side, side)."""
    pixel = torch.arange(side, device=boxes.device)
    first, size = boxes[:, :2, None], boxes[:, 2:, None]
    rows, columns = ((pixel >= first) & (pixel < first + size)).unbind(1)
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
