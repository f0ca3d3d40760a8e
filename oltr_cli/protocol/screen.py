"""An evaluation on the terminal."""

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oltr_cli.protocol.catalogue import GROUPS, IDENTIFICATION, METRICS, metric
from oltr_cli.protocol.evaluate import Evaluation
from oltr_cli.protocol.open_sets import is_open_set
from oltr_cli.protocol.shots import DEFINITIONS
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.result import IdentificationCounts, Metrics

# Rows of the first table below the accuracies.
_BY_GROUP = {
    "AUROC against open": "open/auroc",
    "FPR95 against open, %": "open/fpr95",
    "rejected at τ, %": "open/rejected",
    "ECE": "closed/ece",
    "Brier score": "closed/brier",
}
# Columns of the table of open sets: metrics under ``open/`` and ``open_NAME/``.
_OF_SETS = {
    "AUROC\noverall": "auroc",
    "\nmany": "auroc_many",
    "\nmedium": "auroc_medium",
    "\nfew": "auroc_few",
    "FPR95\n%": "fpr95",
    "F-measure\n": "f_measure",
}


def table(shown: Evaluation) -> RenderableType:
    """A table of accuracies by shot group, with the other metrics below it, each in its unit of the catalogue.

    "–" marks what cannot be computed, † what depends on a τ chosen on the test set.
    """
    metrics, counts, threshold = shown.metrics, shown.counts, shown.threshold
    leaks = ThresholdRule.parse(threshold.rule).marks_test_leak

    def cell(name: str, sign: str = "") -> str:
        value, about = metrics.get(name), metric(name)
        # If any cell has a mark, all cells leave room for one, so that the digits line up.
        mark = ("†" if about.needs_threshold else " ") if leaks else ""
        return ("–" if value is None else about.shown(value) + sign) + mark

    title = shown.run or shown.file
    if shown.detector:
        title = f"{title}, confidence of {shown.detector}"
    by_group = Table(box=ROUNDED, title=title, title_style="bold", title_justify="left")
    by_group.add_column("\n", no_wrap=True)
    by_group.add_column("overall\n", justify="right")
    for name, bounds in zip(GROUPS, DEFINITIONS[shown.shots], strict=True):
        by_group.add_column(f"{name}\n{bounds}", justify="right", min_width=7)
    if counts is not None:
        sizes = (f"[dim]{counts[name]}[/]" for name in ("classes", *GROUPS))
        by_group.add_row("[dim]classes[/]", *sizes, end_section=True)
    halves = ("closed", "open")
    rows = {f"{half}-set accuracy, %": [f"{half}/{name}" for name in ("overall", *GROUPS)] for half in halves}
    for title, name in _BY_GROUP.items():
        rows[title] = [name, *(f"{name}_{group}" for group in GROUPS)]
    for title, names in rows.items():
        by_group.add_row(title, *map(cell, names), end_section=title.startswith("open-set"))

    numbers = Table(box=ROUNDED, show_header=False)
    for _ in range(2):
        numbers.add_column(no_wrap=True)
        numbers.add_column(justify="right", min_width=6, style="bold")
    above = {name for names in rows.values() for name in names}
    others = [one for one in METRICS.values() if one.name not in above]
    cells = [(one.label, cell(one.name, " %" if one.unit == "percent" else "")) for one in others]
    half_way = (len(cells) + 1) // 2
    for left, right in zip(cells[:half_way], [*cells[half_way:], ("", "")], strict=False):
        numbers.add_row(*left, *right)

    lines = [f"τ = {threshold.shown} ({threshold.text})"]
    if counts is not None:
        lines[0] += f" · {counts['known']:,} known and {counts['open']:,} open samples"
    sets = list(dict.fromkeys(part for name in metrics if is_open_set(part := name.partition("/")[0])))
    if metrics.get("open/overall") is None:
        lines.append(f"no open samples{' of open.txt' if sets else ''}: open-set metrics cannot be computed")
    if shown.open_val_accepted is not None:
        share = {name: f"{100 * value:.1f} %" for name, value in shown.open_val_accepted.items()}
        lines.append(f"accepts {share['by_class']} of open_val; one τ for all classes: {share['one_tau']}")
    if threshold.pooled:
        lines.append(threshold.pooled.text)
    if leaks:
        lines.append("† τ was chosen on the test set itself")
    parts: list[RenderableType] = [by_group, numbers]
    if sets:
        by_set = Table(box=ROUNDED)
        by_set.add_column("\nopen set", no_wrap=True)
        for title in _OF_SETS:
            by_set.add_column(title, justify="right", no_wrap=True)
        if counts is not None:  # after a run they are not known
            by_set.add_column("samples\n", justify="right", style="dim")
        for name in ("open", *sets):
            of_set = [cell(f"{name}/{rest}") for rest in _OF_SETS.values()]
            by_set.add_row(name, *of_set, *(() if counts is None else (f"{counts.get(name, 0):,}",)))
        parts.append(by_set)
    parts.append(Text("\n".join(lines), style="dim"))
    if f"{IDENTIFICATION}full" in metrics:
        parts.append(_identification_table(metrics, shown.identification))
    return Group(*parts)


_PSEUDO_SHOTS = {"many": "≥ 5", "few": "2–4", "one": "1", "zero": "0"}


def _identification_table(metrics: Metrics, counts: IdentificationCounts | None) -> RenderableType:
    """Rates by pseudo-shots, then by the dataset's own groups, with the pairs behind each."""
    table = Table(box=ROUNDED)
    table.add_column("identification\npseudo-shots", no_wrap=True)
    table.add_column("rank-1, %\n", justify="right")
    table.add_column("pairs\n", justify="right", style="dim")
    names = [name.removeprefix(IDENTIFICATION) for name in metrics if name.startswith(IDENTIFICATION)]
    groups = [name for name in names if name != "full" and name not in _PSEUDO_SHOTS]
    pairs = counts.pairs if counts else {}
    for section in (["full"], list(_PSEUDO_SHOTS), groups):
        for name in section:
            value, number = metrics.get(IDENTIFICATION + name), pairs.get(name)
            table.add_row(
                f"{name} {_PSEUDO_SHOTS.get(name, '')}".strip(),
                "–" if value is None else f"{100 * value:.1f}",
                "" if number is None else f"{number:,}",
                end_section=name == section[-1],
            )
    if counts is None:
        return table
    sizes = f"{counts.probes:,} probes · {counts.identities:,} identities · {counts.distractors:,} distractors"
    return Group(table, Text(sizes, style="dim"))
