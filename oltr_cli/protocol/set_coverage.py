"""How well label sets keep their promise on test images, by shot group; as numbers and as a table."""

import numpy as np
from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oltr_cli.protocol.catalogue import GROUPS
from oltr_cli.protocol.label_sets import LabelSets, SetRule, calibrate, logits_of
from oltr_cli.protocol.shots import DEFINITIONS, ClassCounts, shot_groups
from oltr_cli.runs.records import Record
from oltr_cli.runs.scores import SavedScores


class GroupCoverage(Record):
    """Of the test images of some classes; None where there are none.

    Attributes:
        images, classes: how many test images, and how many classes they belong to.
        coverage: share of images whose set holds the true class; ``by_class``: the mean of that share over classes.
        size: mean number of classes in a set.
        empty, full: shares of images whose set holds no class, and all.
    """

    images: int
    classes: int
    coverage: float | None = None
    by_class: float | None = None
    size: float | None = None
    empty: float | None = None
    full: float | None = None


class SetCoverage(Record):
    """Label sets on a test set.

    Attributes:
        wanted, score, class_weight: the rule; see ``oltr_cli.protocol.label_sets``.
        guaranteed: the share that follows from the calibration, of all images or, for weight 1, of each class.
        calibrated_on: number of validation images.
        least: validation images that a class needs for a threshold of its own; ``few``: labels of those with fewer.
        groups: ``overall``, ``many``, ``medium`` and ``few``.
    """

    wanted: float
    score: str
    class_weight: float
    guaranteed: float
    calibrated_on: int
    least: int
    few: list[int]
    groups: dict[str, GroupCoverage]


def set_coverage(
    test: SavedScores, val: SavedScores, class_counts: ClassCounts, rule: SetRule, shots: str = "paper"
) -> tuple[SetCoverage, LabelSets]:
    """Sets that are calibrated on ``val``, on ``test``; both with logits and labels 0 … K−1.

    Raises:
        DataProblem, UsageProblem: see ``calibrate`` and ``shot_groups``.
    """
    sets = calibrate(rule, val, class_counts)
    logits = logits_of(test, len(class_counts), "scores of test")
    covered, size = sets.covered_and_size(logits, test.labels)
    masks = {"overall": np.ones(len(class_counts), np.bool_), **shot_groups(class_counts, shots)}
    return (
        SetCoverage(
            wanted=rule.coverage,
            score=rule.score,
            class_weight=rule.class_weight,
            guaranteed=rule.guaranteed,
            calibrated_on=len(val),
            least=rule.least,
            few=sets.few.tolist(),
            groups={name: _of_classes(mask, test.labels, covered, size) for name, mask in masks.items()},
        ),
        sets,
    )


def _of_classes(mask: np.ndarray, labels: np.ndarray, covered: np.ndarray, size: np.ndarray) -> GroupCoverage:
    rows = mask[labels]
    samples = np.bincount(labels[rows], minlength=len(mask))
    present = samples > 0
    if not present.any():
        return GroupCoverage(images=0, classes=0)
    hits = np.bincount(labels[rows & covered], minlength=len(mask))
    return GroupCoverage(
        images=int(rows.sum()),
        classes=int(present.sum()),
        coverage=float(covered[rows].mean()),
        by_class=float((hits[present] / samples[present]).mean()),
        size=float(size[rows].mean()),
        empty=float((size[rows] == 0).mean()),
        full=float((size[rows] == len(mask)).mean()),
    )


def coverage_table(found: SetCoverage, sets: LabelSets, shots: str) -> RenderableType:
    """A row for what was measured, a column for each shot group; "–" where there are no test images."""
    table = Table(box=ROUNDED, title=f"label sets, coverage {found.wanted:g}", title_style="bold", title_justify="left")
    table.add_column("\n", no_wrap=True)
    table.add_column("overall\n", justify="right")
    for name, bounds in zip(GROUPS, DEFINITIONS[shots], strict=True):
        table.add_column(f"{name}\n{bounds}", justify="right", min_width=7)
    columns = [found.groups[name] for name in ("overall", *GROUPS)]
    table.add_row("[dim]test images[/]", *(f"[dim]{one.images:,}[/]" for one in columns), end_section=True)
    shares = {
        "true class in the set, %": "coverage",
        "the same, mean of classes, %": "by_class",
        "empty sets, %": "empty",
        "sets of all classes, %": "full",
    }
    for title, name in shares.items():
        table.add_row(title, *(_cell(getattr(one, name), 100) for one in columns))
    table.add_row("classes in a set, mean", *(_cell(one.size, 1) for one in columns))
    lines = [sets.rule.text, f"calibrated on {found.calibrated_on:,} validation images"]
    if sets.few_text:
        lines.append(sets.few_text)
    lines.append("sets are made before τ: unknown is a separate verdict")
    return Group(table, Text("\n".join(lines), style="dim"))


def _cell(value: float | None, factor: int) -> str:
    return "–" if value is None else f"{factor * value:.1f}"
