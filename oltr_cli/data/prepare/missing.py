"""Whether the images to be listed exist: an interrupted download leaves out folders, or leaves files empty."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import some
from oltr_cli.data.inspect.files import file_sizes


def file_problems(root: Path, files: Mapping[str, Sequence[str]], display: Display) -> list[str]:
    """What is missing or empty below ``root``, one line per kind and source; whole folders first.

    Args:
        files: what lists them → paths below ``root``.
    """
    sizes = file_sizes(root, {source: list(names) for source, names in files.items()}, display)
    problems = []
    for source, names in files.items():
        if missing := [name for name in names if sizes[name] < 0]:
            problems.append(
                f"{source}: {len(missing):,} of {len(names):,} images are missing: {where_missing(root, missing)}"
            )
        if empty := [name for name in names if sizes[name] == 0]:
            problems.append(f"{source}: {len(empty):,} of {len(names):,} images are empty files: {some(empty)}")
    return problems


def where_missing(root: Path, missing: list[str]) -> str:
    """The folders below ``root`` that are missing, and what others lack."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in missing:
        folder, _, file = name.rpartition("/")
        by_folder[folder].append(file)
    gone = [folder for folder in by_folder if not (root / folder).is_dir()]
    cut = [
        f"{folder or '.'} lacks {len(lost):,} ({some(lost)})"
        for folder, lost in by_folder.items()
        if folder not in gone
    ]
    parts = [f"no folder {some(gone)}"] if gone else []
    return "; ".join([*parts, *cut[:3], *(["…"] if len(cut) > 3 else [])])
