"""The curve of a labelling campaign: the mean over the seeds, and a band from the lowest to the highest of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from _campaign import Course
from matplotlib.figure import Figure

from oltr_cli.drawing.style import INKS, LINES, save_pngs

LOOKS = {"active": (INKS[1], LINES[0], "s"), "not spread": (INKS[3], LINES[2], "^"), "random": (INKS[2], LINES[1], "o")}
NAMES = {"active": "oltr data active", "not spread": "the same score, not spread over groups", "random": "random"}
PANELS: dict[str, Callable[[Course], list[float]]] = {
    "closed-set accuracy [%]": lambda course: [100 * value for value in course.accuracy["overall"]],
    "few-shot classes [%]": lambda course: [100 * value for value in course.accuracy.get("few", [])],
    "open images found": lambda course: [0, *np.cumsum(course.open_picks).tolist()],
    "classes with fewer than 20 images": lambda course: [float(count) for count in course.few_left],
}


def save(folder: Path, name: str, dataset: str, budget: int, courses: dict[str, list[Course]]) -> None:
    """Draw it into ``folder/NAME.png``."""
    save_pngs(folder, {name: lambda: drawn(dataset, budget, courses)})


def drawn(dataset: str, budget: int, courses: dict[str, list[Course]]) -> Figure:
    """One panel for each number, against the images labelled so far."""
    figure = Figure(figsize=(11.0, 8.4), layout="constrained")
    for axes, (title, of) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for way, of_seeds in courses.items():
            values = np.array([of(course) for course in of_seeds], np.float64)
            at = budget * np.arange(values.shape[1])
            ink, dashes, marker = LOOKS[way]
            axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=ink, alpha=0.15, linewidth=0)
            axes.plot(at, values.mean(axis=0), color=ink, ls=dashes, marker=marker, label=NAMES[way])
        axes.set(title=title, xlabel="images labelled")
    seeds = len(next(iter(courses.values())))
    figure.suptitle(f"Labelling on {dataset}: mean of {seeds} seeds, bands from the lowest to the highest", fontsize=13)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=11)
    return figure
