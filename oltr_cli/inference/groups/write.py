"""Groups on disk: a contact sheet of each, and a folder of links to its images, or a CSV to be named."""

import csv
import io
import os
from functools import partial
from pathlib import Path

from oltr_cli.base.files import write_atomically
from oltr_cli.base.text import number, visible
from oltr_cli.data.images import decode_file
from oltr_cli.drawing.contact_sheet import Tile, contact_sheet, fit
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference.groups.rejected import Group

ON_SHEET = 40  # images, the most typical ones


def check_free(folder: Path) -> None:
    """Refuse a folder with something in it: groups of another call would be mixed with these.

    Raises:
        UsageProblem: it has, or is a file.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise UsageProblem(
            f"--out {visible(str(folder))}: exists and is not an empty folder; remove it or name another"
        )


def write_sheets(folder: Path, groups: list[Group]) -> None:
    """GROUP.png for each group in ``folder``, which is made.

    Raises:
        OltrError: it cannot be written.
    """
    _make(folder)
    for group in groups:
        tiles = [_tile(path) for path in group.paths[:ON_SHEET]]
        near = f", nearest known class {visible(group.nearest)} (cosine {group.cosine:.2f})" if group.nearest else ""
        shown = f", the {ON_SHEET} most typical" if len(group.paths) > ON_SHEET else ""
        page = contact_sheet(tiles, title=f"{group.name}: {len(group.paths):,} images{shown}{near}")
        write_atomically(folder / f"{group.name}.png", partial(page.save, format="PNG"))


def write_links(folder: Path, groups: list[Group]) -> None:
    """A folder GROUP for each group with symbolic links to its images, numbered from the most typical one.

    Raises:
        OltrError: they cannot be made.
    """
    for group in groups:
        inside = folder / group.name
        _make(inside)
        width = len(str(len(group.paths)))
        for place, path in enumerate(group.paths, start=1):
            link = inside / f"{place:0{width}}-{Path(path).name}"
            try:
                link.symlink_to(Path(path).absolute())
            except OSError as error:
                raise OltrError(f"{link}: cannot be made ({error.strerror}); --csv FILE needs no links") from None


def write_csv(file: Path, groups: list[Group], alone: list[str]) -> None:
    """Lines ``path,label`` as ``oltr data build`` and ``oltr add-class`` read them, with each group's name as label.

    Images in no group come last, with the label ``alone``.

    Raises:
        OltrError: it cannot be written.
        UsageProblem: a path is not UTF-8, which a CSV file must be.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label"))
    for name, paths in [*((group.name, group.paths) for group in groups), ("alone", alone)]:
        writer.writerows((Path(path).absolute(), name) for path in paths)
    try:
        content = text.getvalue().encode()
    except UnicodeEncodeError:
        raise UsageProblem(f"--csv {file}: a path is not UTF-8; without --csv its image is linked") from None
    write_atomically(file, lambda out: out.write(content))


def _tile(path: str) -> Tile:
    try:
        image = fit(decode_file(Path(path)).numpy())
    except DataProblem:  # deleted in the meantime
        image = None
    return Tile(image, [visible(Path(path).name)])


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OltrError(f"{folder}: cannot be made ({error.strerror})") from None


def as_facts(group: Group) -> dict[str, object]:
    """What ``--json`` says of a group."""
    near = {"nearest": group.nearest, "cosine": round(group.cosine, 4)} if group.nearest else {}
    return {"group": group.name, "images": len(group.paths), **near, "paths": group.paths}


def as_row(group: Group) -> tuple[str, str, str, str]:
    """Group, number of images, nearest class, cosine."""
    cosine = number(group.cosine) if group.nearest else "–"
    return group.name, f"{len(group.paths):,}", visible(group.nearest) or "–", cosine
