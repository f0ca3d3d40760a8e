"""Image files through Pillow: which names are images, whether a file is one, and its pixels as uint8 numbers.

Files come from anywhere and may be broken in any way, so whatever Pillow raises becomes a DataProblem that names the
file. Only formats used for photographs are tried: Pillow knows others, too, and passes some of them to other programs.
"""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, features

from oltr_cli.errors import DataProblem, first_line

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF", "JPEG2000", "AVIF", "HEIF")
_ALWAYS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".tif", ".tiff"}
_ALWAYS |= {".ppm", ".pgm", ".pbm", ".pnm"}
HEIC_SUFFIXES = frozenset((".heic", ".heif"))  # with pillow-heif
_NEEDS = {".webp": "webp", ".avif": "avif", ".jp2": "jpg_2000"}  # suffix → what Pillow must have been built with


def _suffixes() -> frozenset[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older Pillows warn about features they do not know
        found = frozenset(_ALWAYS) | {suffix for suffix, feature in _NEEDS.items() if features.check(feature)}
    return found | HEIC_SUFFIXES if importlib.util.find_spec("pillow_heif") else found


SUFFIXES = _suffixes()  # in lower case; of formats that this Pillow decodes
# HEIC too where it cannot be decoded: photographs of phones are named, with what to install, and never passed over.
KNOWN_SUFFIXES = SUFFIXES | HEIC_SUFFIXES

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}


def decode_file(path: Path) -> "Tensor":
    """``decode_pixels`` as a uint8 tensor (3, H, W)."""
    import torch  # takes seconds, and the commands that only look at files do without

    return torch.from_numpy(decode_pixels(path)).permute(2, 0, 1)


def decode_pixels(path: Path) -> NDArray[np.uint8]:
    """RGB image as uint8 (H, W, 3), turned upright by its EXIF tag.

    An animation gives its first frame, transparency is put on white, 16-bit greys keep their upper eight bits.

    Raises:
        DataProblem: missing, cut short or not an image; the message names the file.
    """
    with _opened(path) as (image, _):
        return _rgb(image)


def grey_thumbnail(path: Path, side: int) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """Width and height in pixels as stored, and the upright grey image reduced to uint8 (side, side).

    The whole file is decoded, but of a large JPEG only every second, fourth or eighth pixel.

    Raises:
        DataProblem: as ``decode_pixels``.
    """
    with _opened(path) as (image, _):
        size = image.size
        image.draft(None, (8 * side, 8 * side))
        grey = Image.fromarray(_rgb(image)).convert("L")
        return size, np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0))


def decode_image(image: Image.Image) -> NDArray[np.uint8]:
    """``decode_pixels`` of an image in memory: the same pixels for a file and for what ``Image.open`` makes of it.

    Raises:
        DataProblem: it cannot be decoded, or its values have no known range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_range(image)
            return _rgb(image)
    except MemoryError:
        raise
    except Exception as error:
        raise DataProblem(f"cannot be decoded ({first_line(error)})") from None


def check_image(path: Path) -> tuple[int, int]:
    """Width and height in pixels as stored, read from the header.

    For JPEG, PNG, GIF and WebP the mark at the end is checked; pixels are decoded only if it is missing, and for other
    formats. So a file that was cut short is found, but damage in the middle may not be.

    Raises:
        DataProblem: as ``decode_pixels``.
    """
    with _opened(path) as (image, file):
        size = image.size
        if not _ends_as_it_should(image, file):
            image.draft(None, (1, 1))  # an eighth of a JPEG's pixels: the whole file is read all the same
            image.load()
        return size


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image says.

    Attributes:
        width: in pixels, as ``height``, of the upright image.
        media_type: such as ``image/jpeg``.
        taken: when the photograph was taken; with an offset from UTC if the camera wrote one; None if not known.
    """

    width: int
    height: int
    media_type: str
    taken: datetime | None


def image_facts(path: Path) -> ImageFacts:
    """Size, type and time of a photograph; no pixels are decoded.

    Raises:
        DataProblem: as ``decode_pixels``.
    """
    with _opened(path) as (image, _):
        width, height = _stored_size(image)
        if _orientation(image) in _TURNED:
            width, height = height, width
        return ImageFacts(width, height, Image.MIME.get(image.format or "", "image/unknown"), _taken(image))


def _taken(image: Image.Image) -> datetime | None:
    """EXIF's DateTimeOriginal, else DateTimeDigitized; DateTime is not read: programs that edit images change it."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
    except Exception:  # the pixels may be good all the same
        return None
    names = ExifTags.Base
    for time, offset in (
        (names.DateTimeOriginal, names.OffsetTimeOriginal),
        (names.DateTimeDigitized, names.OffsetTimeDigitized),
    ):
        text, zone = (str(exif.get(tag, "")).strip("\0 ") for tag in (time, offset))
        for candidate, form in ((text + zone, "%Y:%m:%d %H:%M:%S%z"), (text, "%Y:%m:%d %H:%M:%S")):
            try:
                return datetime.strptime(candidate, form)
            except ValueError:
                continue
    return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Pillow's image of ``path`` with its header read, and the file; errors in the block become a DataProblem, too."""
    try:
        if not path.is_file():  # opening a named pipe would wait forever
            raise DataProblem(f"{path}: no such image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd EXIF and palettes: only the pixels count
            with path.open("rb") as file, Image.open(file, formats=formats_of(file)) as image:
                _check_range(image)
                yield image, file
    except (DataProblem, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        with path.open("rb") as file:
            raise DataProblem(f"{path}: {why_unidentified(file)}") from None
    except Exception as error:  # a broken file makes Pillow's plugins raise nearly anything
        raise DataProblem(f"{path}: cannot be decoded ({first_line(error)})") from None


def formats_of(file: IO[bytes]) -> tuple[str, ...]:
    """``FORMATS`` as ``Image.open`` takes them; the plugin for HEIC, an extra, is loaded with the first such file."""
    if not _is_heic(file) or not HEIC_SUFFIXES <= SUFFIXES:
        return FORMATS[:-1]
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return FORMATS


def _is_heic(file: IO[bytes]) -> bool:
    """Phones write HEIC, which names itself in bytes 4 to 12."""
    start = file.read(12)
    file.seek(0)
    return start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS


def _check_range(image: Image.Image) -> None:
    """Refuse numbers of which nobody knows what is white; a PNG or PGM of mode I has 16 bits."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("signed, 32-bit or floating-point values of unknown range; save it with 8 or 16 bits")


def why_unidentified(file: IO[bytes]) -> str:
    """Why Pillow knows no format for a file, which is read from its beginning."""
    file.seek(0)
    if _is_heic(file) and not HEIC_SUFFIXES <= SUFFIXES:
        return "is a HEIC photograph, which needs pillow-heif: pip install 'oltr[heic]'"
    return "cannot be decoded (not an image)"


def _ends_as_it_should(image: Image.Image, file: IO[bytes]) -> bool:
    """False also where the format has no mark at its end. Some cameras pad a file with zeros."""
    length = file.seek(0, os.SEEK_END)
    if image.format == "WEBP":
        file.seek(4)
        return length >= 8 + int.from_bytes(file.read(4), "little")
    file.seek(max(0, length - 4096))
    return file.read().rstrip(b"\0").endswith(_ENDS.get(image.format or "", b"no such mark"))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Upright pixels as uint8 (H, W, 3)."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode.startswith("I"):  # greys of 16 bits, which older Pillows and PGM keep in 32
        values = np.asarray(upright)
        grey = (values >> 8).astype(np.uint8)
        if isinstance(clear := upright.info.get("transparency"), int):
            grey[values == clear] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before the orientation counts; recent Pillows give those of an upright TIFF as its size."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    return image.size


def _orientation(image: Image.Image) -> int:
    """The EXIF tag, 1 = upright; read after the pixels, since Pillow turns TIFF itself and then clears it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # the pixels may be good all the same
        return 1
    return value if isinstance(value, int) else 1


def taken(path: Path) -> tuple[str, str]:
    """When a photograph was exposed, as ISO 8601 in the camera's time, and by which camera; "" for what EXIF lacks."""
    try:
        with _opened(path) as (image, _):
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
    except DataProblem:
        return "", ""
    time = str(details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime) or "")
    camera = [exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model), details.get(ExifTags.Base.BodySerialNumber)]
    try:
        moment = datetime.strptime(time.strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        moment = ""
    return moment, " ".join(str(part).strip("\0 ") for part in camera if part)
