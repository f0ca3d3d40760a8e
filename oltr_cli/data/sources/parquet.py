"""Photographs of a Hugging Face image dataset in Parquet files: ``images`` as bytes, labels as numbers or names.

The file's own metadata say which column has the images and what the numbers of a label mean. Without them, a column of
bytes has the images, and one called label, class, species or the like the labels. Images are unpacked.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oltr_cli.base.display import Display
from oltr_cli.data.sources.csv_file import keyed
from oltr_cli.data.sources.left_out import LeftOut
from oltr_cli.data.sources.packed import label_in, places, splits
from oltr_cli.data.sources.table import Photograph, iso_date
from oltr_cli.data.sources.unpack import Unpacker, suffix_of
from oltr_cli.errors import DataProblem, UsageProblem

if TYPE_CHECKING:
    from pyarrow import Schema

_ROWS = 16  # images in memory at a time
_LABELS = ("label", "labels", "class", "classname", "species", "scientificname", "category", "finelabel")
_GROUPS, _DATES = ("group", "groupid", "seqid", "deploymentid"), ("date", "datetime", "timestamp", "eventdate")


@dataclass(frozen=True)
class _Columns:
    """Names of columns, and the class names that a label's numbers count, if there are any."""

    image: str
    label: str
    names: tuple[str, ...]
    others: tuple[str, ...]


def read(files: list[Path], unpacker: Unpacker, warnings: list[str], display: Display) -> list[Photograph]:
    """The images of all files, unpacked to ``FILE/ROW.jpg`` below the unpacker's folder.

    A split is taken from the file's name (``train-00000-of-00002.parquet``) or its folder's.

    Args:
        warnings: what was left out is appended.
    Raises:
        UsageProblem: pyarrow is not installed.
        DataProblem: not a Parquet file, no column of images or of labels, or no image is left.
    """
    left_out, found = LeftOut(), []
    place, split_of = places(files), splits(files)
    with display.bar("unpacking images", 0) as bar:
        for file in files:
            for row, columns, where in _rows(file):
                image = row[columns.image]
                content = (image.get("bytes") if isinstance(image, dict) else image) or b""
                label, none = label_in(row[columns.label], columns.names, where)
                if not content:
                    left_out.add("rows without the bytes of an image", where)
                elif not (suffix := suffix_of(content)):
                    left_out.add("rows whose bytes are no image", where)
                elif none:
                    left_out.add(none, where)
                else:
                    unpacker.room(len(content), where)
                    path = unpacker.place(f"{place[file]}/{where.rpartition(' ')[2]:0>7}{suffix}", where)
                    unpacker.write(path, content)
                    found.append(_photograph(row, columns, path, label, split_of[file], where))
                bar.advance()
    warnings += left_out.warnings()
    if not found:
        raise DataProblem(f"{files[0]}: no image with a label is left: {left_out or 'it has no rows'}")
    return found


def _rows(file: Path) -> Iterator[tuple[dict[str, Any], _Columns, str]]:
    """(row, its columns, file and row number), a few rows in memory at a time."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageProblem(f"{file}: Parquet needs pyarrow: pip install 'oltr[parquet]'") from None
    try:
        with parquet.ParquetFile(file) as table:
            columns = _columns(table.schema_arrow, file)
            wanted = [columns.image, columns.label, *columns.others]
            number = 0
            for batch in table.iter_batches(_ROWS, columns=wanted):
                for row in batch.to_pylist():
                    yield row, columns, f"{file}: row {number}"
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataProblem(f"{file}: not a Parquet file, or damaged ({str(error).splitlines()[0]})") from None


def _columns(schema: "Schema", file: Path) -> _Columns:
    """Which column is what.

    Raises:
        DataProblem: no column, or several, of images or of labels.
    """
    import pyarrow.types as types

    features = _features(schema)
    images = [name for name, kind in features.items() if kind.get("_type") == "Image"]
    if not images:
        images = [one.name for one in schema if types.is_binary(one.type) or types.is_large_binary(one.type)]
        images += [one.name for one in schema if types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    labels = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    if len(labels) != 1:
        called = [one.name for wanted in _LABELS for one in schema if keyed(one.name) == wanted]
        labels = called[:1] or labels
    for what, found in (("images", images), ("labels", labels)):
        if len(found) != 1:
            which = f"several columns of {what}: {', '.join(found)}; leave one" if found else f"no column of {what}"
            raise DataProblem(f"{file}: has {which} (columns: {', '.join(schema.names)})")
    feature = features.get(labels[0], {})
    feature = feature.get("feature", feature)  # of a list
    names = tuple(map(str, feature.get("names") or ()))
    others = [one.name for one in schema if not types.is_nested(one.type) and not _is_bytes(one.type)]
    return _Columns(images[0], labels[0], names, tuple(name for name in others if name not in (images[0], labels[0])))


def _is_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _features(schema: "Schema") -> dict[str, dict[str, Any]]:
    """What the library ``datasets`` writes about columns; {} without it."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = about["info"]["features"]
        return {name: kind for name, kind in features.items() if isinstance(kind, dict) and name in schema.names}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _photograph(
    row: Mapping[str, Any], columns: _Columns, path: Path, label: str, split: str, where: str
) -> Photograph:
    said = {name: str(row[name]) for name in columns.others if row[name] is not None}
    by_key = {keyed(name): text for name, text in said.items()}
    group = next((by_key[key] for key in _GROUPS if key in by_key), "")
    try:
        date = iso_date(next(by_key[key] for key in _DATES if key in by_key))
    except (StopIteration, ValueError):
        date = ""
    return Photograph(path, label, split, group, date, columns=said, where=where)
