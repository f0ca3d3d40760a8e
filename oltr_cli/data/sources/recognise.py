"""Formats that photographs come in, recognised by what is in a file or a folder and not by its name alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.data.images import KNOWN_SUFFIXES
from oltr_cli.data.sources import camtrap_dp, coco, darwin_core, parquet, webdataset
from oltr_cli.data.sources.json_file import read_object
from oltr_cli.data.sources.table import Photograph
from oltr_cli.data.sources.unpack import Unpacker
from oltr_cli.errors import DataProblem

_ARCHIVES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Recognised:
    """What a source was taken for, and how to read it.

    Attributes:
        name: for people, such as ``COCO Camera Traps``.
        read: gives its photographs; warnings about what it left out are appended to its argument.
        unpacks: whether its images are in the file, and are written to the folder given to ``recognise``.
    """

    name: str
    read: Callable[[list[str]], list[Photograph]]
    unpacks: bool = False


def recognise(source: Path, unpack_to: Path, display: Display) -> Recognised | None:
    """The format of ``source``; None for class folders, for a CSV with a column of paths, and for anything else.

    Raises:
        DataProblem: a JSON file that is damaged, or of none of the formats.
    """
    if source.is_dir():
        return _folder(source, unpack_to, display)
    if not source.is_file():
        return None
    name = source.name.lower()
    if name.endswith(".json"):
        return _json(source)
    if darwin_core.is_table(name):
        return _darwin_core(source)
    if name.endswith(".parquet"):
        return _parquet([source], unpack_to, display)
    if name.endswith(_ARCHIVES):
        return _archives([source], unpack_to, display)
    return None


def _json(source: Path) -> Recognised:
    content = read_object(source)
    if camtrap_dp.is_package(content):
        return Recognised("a Camtrap DP package", partial(camtrap_dp.read, source))
    if name := coco.kind(content):
        return Recognised(name, partial(coco.read, source, content))
    keys = ", ".join(sorted(content)[:8]) or "none"
    raise DataProblem(
        f"{source}: neither COCO (images, annotations, categories) nor Camtrap DP (a datapackage.json); its keys are: "
        f"{keys}"
    )


def _folder(source: Path, unpack_to: Path, display: Display) -> Recognised | None:
    """A package, or tables beside images; Parquet files and archives only where there are no images."""
    package = source / camtrap_dp.DESCRIPTOR
    if package.is_file() and camtrap_dp.is_package(read_object(package)):
        return _json(package)
    if (tables := _darwin_core(source)) is not None:
        return tables
    if (source / "dataset_info.json").is_file() and any(source.glob("*.arrow")):
        raise DataProblem(f"{source}: a dataset as save_to_disk writes it; write it with to_parquet instead")
    parquet, archives = _inside(source)
    if parquet:
        return _parquet(parquet, unpack_to, display)
    return _archives(archives, unpack_to, display) if archives else None


def _inside(folder: Path) -> tuple[list[Path], list[Path]]:
    """(Parquet files, archives) of a folder and those below it, by name; nothing if an image is among them."""
    parquet: list[Path] = []
    archives: list[Path] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as scan:
                entries = sorted((entry for entry in scan if entry.name[0] != "."), key=lambda entry: entry.name)
        except OSError:  # named later, if it matters
            continue
        for entry in entries:
            name = entry.name.lower()
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif Path(name).suffix in KNOWN_SUFFIXES:
                return [], []
            elif name.endswith(".parquet"):
                parquet.append(Path(entry.path))
            elif name.endswith(_ARCHIVES):
                archives.append(Path(entry.path))
    return sorted(parquet), sorted(archives)


def _darwin_core(source: Path) -> Recognised | None:
    tables = darwin_core.tables_in(source)
    return Recognised("Darwin Core", partial(darwin_core.read, tables)) if tables else None


def _parquet(files: list[Path], unpack_to: Path, display: Display) -> Recognised:
    read = partial(parquet.read, files, Unpacker(unpack_to), display=display)
    return Recognised("an image dataset in Parquet", read, unpacks=True)


def _archives(files: list[Path], unpack_to: Path, display: Display) -> Recognised:
    read = partial(webdataset.read, files, Unpacker(unpack_to), display=display)
    return Recognised("a WebDataset", read, unpacks=True)
