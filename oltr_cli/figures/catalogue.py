"""The paper's figures by name."""

import importlib
from collections.abc import Sequence
from typing import Any

from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.figures.request import FigureSpec

# Name → module and what it shows; in the paper's order.
FIGURES: dict[str, tuple[str, str]] = {
    "3": ("tsne", "t-SNE of test features"),
    "4": ("attention", "modulated attention over two images"),
    "5": ("ablation", "ablation of attention and meta-embedding"),
    "6": ("gains", "F1 gain over the plain model by shot group"),
    "7": ("concepts", "top-3 visual concepts infused by the memory feature"),
    "8a": ("tails", "accuracy against the power value α"),
    "8b": ("threshold", "F-measure against the threshold"),
    "8c": ("open_classes", "F-measure against the number of open classes"),
}


def names(asked: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
    """The names of the requested figures, in the order given: ``all`` of them, ``8`` for 8a, 8b, 8c.

    Args:
        besides: other words that the caller takes, to be suggested for a misspelt one.
    Raises:
        UsageProblem: no such figure.
    """
    chosen: list[str] = []
    for text in asked:
        name = text.lower().replace("(", "").replace(")", "").replace(" ", "")
        fitting = [f for f in FIGURES if name == "all" or f == name or f.rstrip("abc") == name]
        if not fitting:
            raise UsageProblem(f"no figure '{text}'{nearest(name, [*FIGURES, 'all', *besides])}")
        chosen += fitting
    return list(dict.fromkeys(chosen))


def load(name: str) -> FigureSpec[Any]:
    """The figure of that name, which ``names`` has checked."""
    spec: FigureSpec[Any] = importlib.import_module(f"oltr_cli.figures.{FIGURES[name][0]}").FIGURE
    return spec
