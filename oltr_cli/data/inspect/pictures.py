"""Two pictures of a dataset: how many training images its classes have, and what they look like from head to tail."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from oltr_cli.base.files import write_atomically
from oltr_cli.base.text import counted
from oltr_cli.data.inspect.info import Look, readable
from oltr_cli.drawing.contact_sheet import Tile, contact_sheet
from oltr_cli.drawing.lettering import drawable
from oltr_cli.drawing.style import BANDS, DPI, INKS, RC, STYLES, plain_log
from oltr_cli.protocol.open_sets import OUTLIERS, is_open_set
from oltr_cli.protocol.shots import DEFINITIONS, shot_groups

if TYPE_CHECKING:
    from oltr_cli.data.feed.opening import Split

_Shown = tuple[tuple[str, ...], NDArray[np.int64]]  # caption, and indices of what it fits
COLUMNS = 8
_FOREIGN = {  # split → title of its block
    "open": "open · never trained on",
    OUTLIERS: "outliers · some methods train on them as unknown",
    "probe": "probes · identities never trained on",
    "distractors": "distractors · looked up beside the probes",
}


def write_pictures(look: Look, out: Path) -> list[Path]:
    """Write ``frequency.png`` and ``images.png`` to the folder ``out``, or both as one picture to the file ``out``.png.

    The contact sheet is left out if none of the images exist.

    Raises:
        OltrError: cannot be written.
    """
    curve = _rendered(frequency_curve(look.name, look.class_counts))
    tiles = representative_tiles(look)
    sheet = contact_sheet(tiles, COLUMNS, f"{look.name}: from head to tail") if tiles else None
    if out.suffix.lower() == ".png":
        pictures = {out: curve if sheet is None else _stacked(curve, sheet)}
    else:
        pictures = {out / "frequency.png": curve}
        if sheet is not None:
            pictures[out / "images.png"] = sheet
    for path, picture in pictures.items():
        write_atomically(path, lambda file, picture=picture: picture.save(file, format="PNG"))  # type: ignore[misc]
    return list(pictures)


def frequency_curve(name: str, counts: NDArray[np.int64]) -> Figure:
    """Training images of each class, most first, on a log axis, with the shot groups as bands."""
    ordered = np.sort(counts)[::-1]
    classes = len(ordered)
    low = max(0.7, ordered[-1] / 1.8)
    high = low * (ordered[0] / low) ** 1.2  # the top sixth is for the names of the groups
    with rc_context(RC):
        figure = Figure(figsize=(8.0, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.set_yscale("log")
        edges = np.arange(classes + 1) + 0.5
        axes.stairs(ordered, edges, baseline=low, fill=True, color="#000000", alpha=0.14)
        axes.stairs(ordered, edges, baseline=None, color="#000000", lw=2.0)
        start = 0.5
        for (group, members), bounds in zip(shot_groups(ordered).items(), DEFINITIONS["paper"], strict=True):
            size = int(members.sum())
            label = f"{group} ({bounds}): {counted(size, 'class')}"
            # Without classes too: the legend names all three groups.
            axes.axvspan(
                start, start + size, facecolor=BANDS[group], edgecolor="#999999", zorder=-2, lw=1.0, label=label
            )
            if size > 0.1 * classes:
                axes.text(
                    start + size / 2, 0.945, group, transform=axes.get_xaxis_transform(), ha="center", va="center",
                    color="#444444", bbox={"facecolor": BANDS[group], "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
            start += size
        axes.set(xlim=(0.5, classes + 0.5), ylim=(low, high))
        axes.set_title(f"{drawable(name)}: {ordered.sum():,} training images")
        axes.set_xlabel(f"{classes:,} classes, most images first")
        axes.set_ylabel("training images (log scale)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        plain_log(axes.yaxis)
        axes.grid(visible=False, axis="x")
        ends = ((0.5, ordered[0], (4, 4), "bottom"), (classes + 0.5, ordered[-1], (5, 0), "center"))
        for x, count, offset, va in ends:
            axes.annotate(
                f"{count:,}", (x, count), offset, textcoords="offset points", va=va, annotation_clip=False
            )  # fmt: skip
        figure.legend(loc="outside lower center", ncols=3, fontsize=10, handlelength=1.5, columnspacing=1.8)
    return figure


def representative_tiles(look: Look) -> list[Tile]:
    """Images of head, medium, tail and foreign classes, spread evenly over each group; none when none can be read."""
    counts, train = look.class_counts, look.splits["train"]
    tiles: list[Tile] = []
    for i, (group, members) in enumerate(shot_groups(counts).items()):
        classes = np.flatnonzero(members)
        ranked = classes[np.argsort(-counts[classes], kind="stable")]
        total = int(counts[classes].sum())
        title = f"{group}-shot · {DEFINITIONS['paper'][i]} training images · "
        title += f"{counted(len(ranked), 'class')}, {counted(total, 'image')}"
        shown: list[_Shown] = [
            ((look.class_names[c], counted(int(counts[c]), "image")), np.flatnonzero(train.labels == c))
            for c in _evenly(ranked)
        ]
        tiles += _block(train, shown, STYLES[group][0], title)
    further = {split: f"{split} · never trained on" for split in look.splits if is_open_set(split)}
    for split, title in (_FOREIGN | further).items():
        if split not in look.splits:
            continue
        kinds = np.array(look.kinds[split])
        names, first, sizes = np.unique(kinds, return_index=True, return_counts=True)
        if len(names) > 1:
            title += f" · {len(names):,} kinds, {counted(len(kinds), 'image')}"
            shown = [
                ((str(names[k]), counted(int(sizes[k]), "image")), np.flatnonzero(kinds == names[k]))
                for k in _evenly(np.argsort(first))
            ]
        else:
            title += f" · {counted(len(kinds), 'image')}"
            shown = [((), _evenly(np.arange(len(kinds))))]
        tiles += _block(look.splits[split], shown, INKS[4], title)
    return tiles if any(tile.image is not None for tile in tiles) else []


def _block(split: "Split", shown: Sequence[_Shown], frame: str, group: str) -> list[Tile]:
    """A row of images: one for each caption and its indices into ``split``, or several where there are few of them."""
    each = max(1, COLUMNS // max(1, len(shown)))
    tiles = []
    for caption, indices in shown:
        for k in range(min(each, len(indices))):
            pixels = readable(split, indices[k::each])
            tiles.append(Tile(pixels, caption if pixels is not None else (*caption, "cannot be read"), frame, group))
    return tiles


def _evenly(items: NDArray) -> NDArray:
    """``COLUMNS`` of them at most, the first and the last among them."""
    return items[np.linspace(0, len(items) - 1, min(len(items), COLUMNS)).round().astype(np.int64)]


def _rendered(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    with rc_context(RC):
        figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")


def _stacked(above: Image.Image, below: Image.Image) -> Image.Image:
    page = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
    page.paste(above, ((page.width - above.width) // 2, 0))
    page.paste(below, ((page.width - below.width) // 2, above.height))
    return page
