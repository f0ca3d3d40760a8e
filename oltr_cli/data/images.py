"""Decoding image files to uint8 tensors with Pillow, which reads every format that photographs come in."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from oltr_cli.errors import DataProblem


def decode_file(path: Path) -> torch.Tensor:
    """RGB image as uint8 (3, H, W), turned upright by its EXIF tag.

    Of an animation the first frame counts; what is transparent lies on white; 16-bit greys keep their upper eight bits.

    Raises:
        DataProblem: missing, cut short or no image; the message names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF and palettes: the pixels are what counts
            with Image.open(path) as image:
                pixels = _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise DataProblem(f"{path}: no such image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "no image" if isinstance(error, Image.UnidentifiedImageError) else error
        raise DataProblem(f"{path}: cannot be decoded ({reason})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _rgb(image: Image.Image) -> np.ndarray:
    """Pixels as uint8 (H, W, 3)."""
    if image.mode.startswith("I"):  # 16 bits, or 32 in which formats without a 16-bit type keep them
        values = np.asarray(image).astype(np.int64)
        grey = (values >> 8 if image.mode != "I" or values.max() > 255 else values).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
