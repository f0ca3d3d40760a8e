"""Decoding image files to uint8 tensors: torchvision's decoders where they read the file, Pillow for all else."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_image, read_file

from oltr_cli.errors import DataProblem


def decode_file(path: Path) -> torch.Tensor:
    """RGB image as uint8 (3, H, W), turned upright by its EXIF tag.

    Raises:
        DataProblem: missing, cut short or no image; the message names the file.
    """
    try:
        return decode_image(read_file(str(path)), ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError:
        # Pillow knows more formats (BMP, TIFF, 16-bit); what it refuses as well is really broken.
        return _decode_with_pillow(path)


def _decode_with_pillow(path: Path) -> torch.Tensor:
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(upright.convert("RGB"))
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such image") from None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataProblem(f"{path}: cannot be decoded ({error})") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
