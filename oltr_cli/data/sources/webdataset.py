"""Photographs of WebDataset archives: .tar files whose members ``KEY.jpg``, ``KEY.cls``, ``KEY.json`` are one sample.

https://github.com/webdataset/webdataset. The class is what ``KEY.cls`` says (a name, or a number that counts the lines
of classes.txt beside the archive), else a field of ``KEY.json``. Images are unpacked; nothing else is written. Archives
come from anywhere: links, names that lead out of the folder and absurd sizes are refused.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oltr_cli.base.display import Display
from oltr_cli.data.images import KNOWN_SUFFIXES
from oltr_cli.data.sources.json_file import scalars
from oltr_cli.data.sources.left_out import LeftOut
from oltr_cli.data.sources.packed import label_in, places, splits
from oltr_cli.data.sources.table import Photograph, iso_date
from oltr_cli.data.sources.unpack import Unpacker, suffix_of
from oltr_cli.errors import DataProblem

_TEXT = 1_000_000  # bytes of a .cls or .json
_LABEL_FIELDS = ("label", "class", "class_name", "species", "scientific_name", "category")
_GROUP_FIELDS = ("group", "group_id", "seq_id", "deploymentID")
_DATE_FIELDS = ("date", "datetime", "timestamp", "eventDate")


@dataclass
class _Sample:
    """Members of one key; ``place`` is where its image goes, without the suffix."""

    key: str
    where: str
    place: Path
    image: Path | None = None
    cls: str = ""
    about: dict[str, Any] = field(default_factory=dict)


def read(files: list[Path], unpacker: Unpacker, warnings: list[str], display: Display) -> list[Photograph]:
    """The images of all archives, unpacked to ``ARCHIVE/KEY.jpg`` below the unpacker's folder.

    Args:
        warnings: what was left out is appended.
    Raises:
        DataProblem: not a tar file, cut short, or a member that is refused; the message names archive and member.
    """
    left_out, found = LeftOut(), []
    place, split_of = places(files), splits(files)
    with display.bar("unpacking archives", len(files)) as bar:
        for file in files:
            names = _class_names(file)
            for sample in _samples(file, place[file], unpacker, left_out):
                label, none = _label(sample, names)
                if sample.image is None:
                    left_out.add("samples without an image", sample.where)
                elif none:
                    left_out.add(none, sample.where)
                else:
                    found.append(_photograph(sample, sample.image, label, split_of[file]))
            bar.advance()
    warnings += left_out.warnings()
    if not found:
        raise DataProblem(
            f"{files[0]}: no image with a label is left: {left_out or 'it is empty'}; a sample has KEY.jpg and "
            f"KEY.cls, or KEY.json with one of {', '.join(_LABEL_FIELDS)}"
        )
    return found


def _samples(file: Path, place: str, unpacker: Unpacker, left_out: LeftOut) -> Iterator[_Sample]:
    """The samples of an archive, unpacked to ``place``; members of a key follow each other."""
    sample: _Sample | None = None
    done: set[str] = set()
    try:
        with tarfile.open(file, "r:*") as archive:
            for member in archive:
                where = f"{file}: member {member.name!r}"
                unpacker.place(member.name, where)
                if member.isdir():
                    continue
                if not member.isreg():
                    raise DataProblem(f"{where} is a link or a device; only files are unpacked")
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}".strip("/") if folder else stem
                if not stem:
                    continue  # a hidden file, such as macOS adds
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    if key in done:
                        raise DataProblem(f"{where}: the files of sample {key!r} do not follow each other")
                    done.add(key)
                    sample = _Sample(key, where, unpacker.place(f"{place}/{key}", where))
                _add(sample, archive, member, ending.lower(), where, unpacker, left_out)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataProblem(f"{file}: not a tar file, or damaged ({error})") from None
    if sample is not None:
        yield sample


def _add(
    sample: _Sample,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    ending: str,
    where: str,
    unpacker: Unpacker,
    left_out: LeftOut,
) -> None:
    """Take what a member says into its sample, and unpack it if it is an image."""
    is_image = f".{ending}" in KNOWN_SUFFIXES  # not KEY.mask.png
    if not is_image and ending not in ("cls", "json", "cls.txt", "label.txt"):
        return
    if not is_image and member.size > _TEXT:
        raise DataProblem(f"{where}: {member.size:,} bytes, more than a label has")
    unpacker.room(member.size, where)
    content = _content(archive, member, where)
    if is_image:
        if not (suffix := suffix_of(content)):
            left_out.add("members that are not images by their content", where)
        elif sample.image is None:
            sample.image = sample.place.with_name(sample.place.name + suffix)
            unpacker.write(sample.image, content)
        else:
            left_out.add("second images of a sample", where)
        return
    try:
        text = content.decode()
        if ending == "json":
            about = json.loads(text)
            sample.about = about if isinstance(about, dict) else {"label": about}
        else:
            sample.cls = text.strip()
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise DataProblem(f"{where}: not {'valid JSON' if ending == 'json' else 'UTF-8 text'}") from None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> bytes:
    stream = archive.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) != member.size:
        raise DataProblem(f"{where}: cut short")
    return content


def _label(sample: _Sample, names: list[str]) -> tuple[str, str]:
    """As ``label_in``: of KEY.cls, else of the first field of KEY.json that has a value."""
    said = [sample.about[key] for key in _LABEL_FIELDS if sample.about.get(key) not in (None, "", [])]
    value = sample.cls or next(iter(said), None)
    if names and isinstance(value, str) and re.fullmatch(r"\d+", value):
        value = int(value)
        if value >= len(names):
            raise DataProblem(f"{sample.where}: class {value}, but classes.txt has {len(names)} lines")
    return label_in(value, names, sample.where)


def _photograph(sample: _Sample, image: Path, label: str, split: str) -> Photograph:
    columns = scalars(sample.about)
    group = next((columns[key] for key in _GROUP_FIELDS if key in columns), "")
    try:
        date = iso_date(next(columns[key] for key in _DATE_FIELDS if key in columns))
    except (StopIteration, ValueError):
        date = ""
    return Photograph(image, label, split, group, date, columns=columns, where=sample.where)


def _class_names(file: Path) -> list[str]:
    """Lines of classes.txt beside the archive; [] without one."""
    names = file.parent / "classes.txt"
    try:
        return names.read_text(encoding="utf-8-sig").splitlines() if names.is_file() else []
    except UnicodeDecodeError:
        raise DataProblem(f"{names}: not UTF-8 text") from None
