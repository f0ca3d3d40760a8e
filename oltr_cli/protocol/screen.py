"""An evaluation on the screen."""

from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oltr_cli.protocol.evaluate import Result
from oltr_cli.protocol.metrics import IDENTIFICATION
from oltr_cli.protocol.shots import DEFINITIONS, GROUPS
from oltr_cli.protocol.thresholds import ThresholdRule


def table(result: Result) -> RenderableType:
    """A result as a table of accuracies by shot group and the open-set numbers below it.

    Accuracies and rates are in percent, the F-measures are fractions, as the paper prints them. "–" stands for what
    cannot be computed, † marks what the test set's own τ has touched. Takes a run's result.json as well, which need not
    have "counts".
    """
    metrics, counts, threshold = result["metrics"], result.get("counts"), result["threshold"]
    leaks = ThresholdRule.parse(threshold["rule"]).marks_test_leak

    def cell(name: str, unit: str = "", percent: bool = True) -> str:
        value = metrics[name]
        # With marks about, all cells keep a place for one, so that the digits stand below each other.
        mark = ("†" if name in _DEPEND_ON_THRESHOLD else " ") if leaks else ""
        if value is None:
            return "–" + mark
        return (f"{100 * value:.1f}{unit}" if percent else f"{value:.3f}") + mark

    by_group = Table(
        box=ROUNDED, title=result.get("run") or result.get("file"), title_style="bold", title_justify="left"
    )
    by_group.add_column("accuracy, %\n", no_wrap=True)
    by_group.add_column("overall\n", justify="right")
    for name, bounds in zip(GROUPS, DEFINITIONS[result["shots"]], strict=True):
        by_group.add_column(f"{name}\n{bounds}", justify="right", min_width=7)
    if counts is not None:
        sizes = (f"[dim]{counts[name]}[/]" for name in ("classes", *GROUPS))
        by_group.add_row("[dim]classes[/]", *sizes, end_section=True)
    for half in ("closed", "open"):
        by_group.add_row(f"{half} set", *(cell(f"{half}/{name}") for name in ("overall", *GROUPS)))

    numbers = Table(box=ROUNDED, show_header=False)
    for _ in range(2):
        numbers.add_column(no_wrap=True)
        numbers.add_column(justify="right", min_width=6, style="bold")
    cells = [(label, cell(name, " %", percent)) for label, name, percent in _OPEN_NUMBERS]
    half_way = (len(cells) + 1) // 2
    for left, right in zip(cells[:half_way], [*cells[half_way:], ("", "")], strict=False):
        numbers.add_row(*left, *right)

    chosen = threshold["rule"] + (f", by {threshold['chosen_by']}" if "chosen_by" in threshold else "")
    lines = [f"τ = {threshold['value']:.6g} ({chosen})"]
    if counts is not None:
        lines[0] += f" · {counts['known']:,} known and {counts['open']:,} open samples"
    if metrics["open/overall"] is None:
        lines.append("no open samples: the numbers of the open set cannot be computed")
    if leaks:
        lines.append("† τ was chosen on the test set itself")
    note = Text("\n".join(lines), style="dim")
    if f"{IDENTIFICATION}full" in metrics:
        return Group(by_group, numbers, note, _identification_table(metrics, result.get("identification") or {}))
    return Group(by_group, numbers, note)


_PSEUDO_SHOTS = {"many": "≥ 5", "few": "2–4", "one": "1", "zero": "0"}


def _identification_table(metrics: dict[str, float | None], counts: dict[str, Any]) -> RenderableType:
    """Rates by pseudo-shots, then by the dataset's own groups, with the pairs behind each."""
    table = Table(box=ROUNDED)
    table.add_column("identification\npseudo-shots", no_wrap=True)
    table.add_column("rank-1, %\n", justify="right")
    table.add_column("pairs\n", justify="right", style="dim")
    names = [name.removeprefix(IDENTIFICATION) for name in metrics if name.startswith(IDENTIFICATION)]
    groups = [name for name in names if name != "full" and name not in _PSEUDO_SHOTS]
    pairs = counts.get("pairs", {})
    for section in (["full"], list(_PSEUDO_SHOTS), groups):
        for name in section:
            value, number = metrics.get(IDENTIFICATION + name), pairs.get(name)
            table.add_row(
                f"{name} {_PSEUDO_SHOTS.get(name, '')}".strip(),
                "–" if value is None else f"{100 * value:.1f}",
                "" if number is None else f"{number:,}",
                end_section=name == section[-1],
            )
    if not counts:
        return table
    sizes = (f"{counts[name]:,} {name}" for name in ("probes", "identities", "distractors"))
    return Group(table, Text(" · ".join(sizes), style="dim"))


_OPEN_NUMBERS = (
    ("F-measure", "open/f_measure", False),
    ("F-measure, 2019 (lenient)", "open/f_measure_2019", False),
    ("macro F1, K + 1 classes", "open/macro_f1", False),
    ("balanced accuracy", "open/balanced_accuracy", True),
    ("OSCR", "open/oscr", False),
    ("AUROC", "open/auroc", False),
    ("AUPR, known positive", "open/aupr_in", False),
    ("AUPR, open positive", "open/aupr_out", False),
    ("FPR at TPR 95 %", "open/fpr95", True),
    ("detection error, TPR 95 %", "open/detection_error_tpr95", True),
    ("detection error, lowest", "open/detection_error_min", True),
)


_DEPEND_ON_THRESHOLD = {
    *(f"open/{name}" for name in ("overall", *GROUPS)),
    *("open/f_measure", "open/f_measure_2019", "open/macro_f1", "open/balanced_accuracy"),
}
