"""Images that come as bytes inside a file are written to files of their own, since lists name files.

Each is complete or absent, and one that is there already with the same bytes is not written again.
"""

import shutil
from pathlib import Path, PurePosixPath

from oltr_cli.base.text import amount
from oltr_cli.data.images import HEIC_BRANDS
from oltr_cli.errors import DataProblem, OltrError

LARGEST = 200_000_000  # bytes of one image: more than any camera's


class Unpacker:
    """Writes images below ``folder``.

    Attributes:
        written: images that were not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder.absolute(), 0

    def room(self, size: int, where: str) -> None:
        """Raise DataProblem if one image of ``size`` bytes is too large, or does not fit on the disk."""
        if size > LARGEST:
            raise DataProblem(f"{where}: {amount(size)}, more than an image can have ({amount(LARGEST)})")
        there = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        if size > (free := shutil.disk_usage(there).free):
            raise OltrError(f"{self.folder}: {where} needs {amount(size)}, but only {amount(free)} are free")

    def place(self, name: str, where: str) -> Path:
        """The file of an image called ``name`` (with slashes), below the folder.

        Raises:
            DataProblem: it leads out of the folder.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0] or "\0" in name:
            raise DataProblem(f"{where}: the name {name!r} leads out of the folder")
        return self.folder.joinpath(*path.parts)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of ``place``.

        Raises:
            OltrError: the disk is full or the folder cannot be written.
        """
        try:
            if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp"[-250:])
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            raise OltrError(f"{path}: cannot be written ({error.strerror})") from None
        self.written += 1


def suffix_of(content: bytes) -> str:
    """``.jpg``, ``.png``, …, by the first bytes of an image; "" for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return ".avif" if brand in (b"avif", b"avis") else ".heic" if brand in HEIC_BRANDS else ""
    starts = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp"}
    starts |= {b"II*\0": ".tif", b"MM\0*": ".tif", b"\0\0\0\x0cjP": ".jp2"}
    return next((suffix for start, suffix in starts.items() if content.startswith(start)), "")
