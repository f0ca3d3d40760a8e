"""The confusion matrix as a picture, for as many classes as fit on one."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from oltr_cli.drawing.style import BLUES, PERCENT, tau_text
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.metrics import Threshold
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups

MOST = 60  # classes
NUMBERED = 20  # classes up to which squares have room for a number
LONGEST = 24  # letters of a class name


def confusion_matrix(
    shown: Confusions, names: Sequence[str], class_counts: ClassCounts, title: str, shots: str, tau: Threshold
) -> Figure:
    """Where the test samples of each class land, in % of the row; open samples and rejections come last.

    Classes are in the order of their training images, the most first, with a line where a shot group ends. "–" marks
    a row without samples.
    """
    counts = np.asarray(class_counts)
    order = np.append(np.argsort(-counts, kind="stable"), shown.classes)
    samples = shown.samples[order]
    shares = shown.table()[np.ix_(order, order)] / np.maximum(samples, 1)[:, None]
    size = len(order)
    side = 4.5 + 0.21 * size
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=BLUES, vmin=0.0, vmax=1.0)
    letters = 9 if size > NUMBERED + 1 else 11
    for row in range(size):
        if not samples[row]:
            axes.text(0, row, "–", ha="center", va="center", fontsize=letters)
        elif size <= NUMBERED + 1:
            for column in np.flatnonzero(shares[row]).tolist():
                ink = "white" if shares[row, column] > 0.5 else "black"
                text = f"{100 * shares[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=letters - 1)
    group = np.select([mask[order[:-1]] for mask in shot_groups(counts, shots).values()], range(len(GROUPS)))
    for end in [*np.flatnonzero(np.diff(group)).tolist(), size - 2]:
        axes.axhline(end + 0.5, color="#555555", lw=0.8)
        axes.axvline(end + 0.5, color="#555555", lw=0.8)
    short = [_short(names[label]) for label in order[:-1].tolist()]
    axes.set_xticks(range(size), [*short, "unknown"], rotation=90, fontsize=letters)
    axes.set_yticks(range(size), [*short, "open"], fontsize=letters)
    axes.set(xlabel=f"decision at {tau_text(tau)}", ylabel="true class", title=title)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, format=PERCENT, shrink=0.7)
    bar.set_label("share of the row [%]")
    bar.outline.set_visible(False)
    return figure


def _short(name: str) -> str:
    """A name that fits beside an axis; "$" would start a formula."""
    text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return text.replace("$", r"\$")
