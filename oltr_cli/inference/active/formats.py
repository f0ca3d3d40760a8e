"""How the images to label next are written: a table for people, CSV, JSON, a list of paths, a contact sheet."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from oltr_cli.base.files import write_atomically
from oltr_cli.base.text import number, shortest, visible
from oltr_cli.data.images import decode_file
from oltr_cli.drawing.contact_sheet import Tile, fit
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.active.choose import Chosen
from oltr_cli.inference.formats.rows import cell, csv_line
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.sheet import ON_SHEET, Sheet
from oltr_cli.inference.verdicts import UNKNOWN

WIDEST = 32  # cells of a class name in the table


def records(recogniser: Recogniser, chosen: Chosen) -> list[dict[str, Any]]:
    """One object per image; ``nearest`` is its nearest known class, ``label`` the suggested one, which may be
    "unknown"."""
    names, rows = recogniser.class_names, chosen.rows
    return [
        {
            "image": str(path),
            "reachability": None if math.isnan(gamma) else shortest(gamma),
            "confidence": shortest(confidence),
            "nearest": names[nearest],
            "label": UNKNOWN if unknown else names[prediction],
            "unknown": bool(unknown),
        }
        for path, gamma, confidence, nearest, prediction, unknown in zip(
            rows.paths, rows.reachability, rows.confidence, rows.nearest, rows.prediction, rows.unknown, strict=True
        )
    ]


def as_table(recogniser: Recogniser, chosen: Chosen) -> Iterator[str]:
    """Lines with the path last."""
    by, found = chosen.measure.by, records(recogniser, chosen)
    nearest, labels = ([visible(one[key]) for one in found] for key in ("nearest", "label"))
    widths = [
        min(WIDEST, max(map(cell_len, [head, *cells]))) for head, cells in (("nearest", nearest), ("label", labels))
    ]

    def line(score: str, near: str, label: str, path: str) -> str:
        return f"{score:>12}  {cell(near, widths[0])}  {cell(label, widths[1])}  {path}"

    yield line(by, "nearest", "label", "image")
    for one, near, label in zip(found, nearest, labels, strict=True):
        yield line(number(one[by]), near, label, visible(one["image"]))


def as_csv(recogniser: Recogniser, chosen: Chosen) -> Iterator[str]:
    """A header, and one line per image."""
    yield "image,reachability,confidence,nearest,label,unknown"
    for one in records(recogniser, chosen):
        gamma = "" if one["reachability"] is None else one["reachability"]
        unknown = "true" if one["unknown"] else "false"
        yield csv_line([one["image"], gamma, one["confidence"], one["nearest"], one["label"], unknown])[0]


def as_facts(recogniser: Recogniser, chosen: Chosen, budget: int) -> dict[str, Any]:
    """What ``--json`` prints, as one object."""
    return {
        "run": recogniser.run.name,
        **chosen.measure.as_json(),
        "threshold": recogniser.threshold_facts,
        "budget": budget,
        "images": [
            {**one, "group": group}
            for one, group in zip(records(recogniser, chosen), chosen.groups.tolist(), strict=True)
        ],
        "groups": chosen.group_count,
        "counts": vars(chosen.counts),
        "training_images_left_out": chosen.training_known,
        "failed": [{"image": source.path, "error": source.problem} for source in chosen.failed],
    }


def write_paths(file: Path, chosen: Chosen) -> None:
    """The paths one per line, the least known image first, with the bytes they have on disk.

    Raises:
        UsageProblem: a path contains a line break.
    """
    for path in chosen.rows.paths:
        if "\n" in path:
            raise UsageProblem(f"--out {file}: {visible(path)} contains a line break; use --json")
    write_atomically(file, lambda out: out.write(b"".join(os.fsencode(path) + b"\n" for path in chosen.rows.paths)))


def fill_sheet(sheet: Sheet, recogniser: Recogniser, chosen: Chosen) -> None:
    """The first images on a contact sheet, uncropped, as they are on disk."""
    by = chosen.measure.by
    for one in records(recogniser, chosen)[:ON_SHEET]:
        what = f"{UNKNOWN} ({one['nearest']}?)" if one["unknown"] else one["label"]
        value = f"{'γ' if by == 'reachability' else by} {number(one[by])}"
        try:
            image = fit(decode_file(Path(one["image"])).numpy())
        except DataProblem:  # deleted in the meantime
            image = None
        sheet.tiles.append(Tile(image, [visible(what), value, visible(Path(one["image"]).name)]))
