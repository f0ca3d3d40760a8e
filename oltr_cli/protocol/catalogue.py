"""The metrics and the facts about each, for tables, report, evaluation and tuning.

A metric is one entry here and a formula in ``oltr_cli.protocol.metrics``; docs/protocol.md defines it for readers.
"""

from dataclasses import dataclass, replace
from typing import Literal

GROUPS = ("many", "medium", "few")
IDENTIFICATION = "identification/"  # rates by groups that the dataset names; see oltr_cli.protocol.identification


@dataclass(frozen=True)
class Metric:
    """One number of a run.

    Attributes:
        name: in result.json, tables and on the command line.
        label: for display.
        unit: in which it is shown; it is always saved as a fraction of 1.
        needs_threshold: whether it depends on τ.
    """

    name: str
    label: str
    unit: Literal["percent", "fraction"] = "percent"
    better: Literal["higher", "lower"] = "higher"
    needs_threshold: bool = False

    @property
    def scale(self) -> float:
        """Factor from the saved value to its unit."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def digits(self) -> int:
        """Digits after the decimal point."""
        return 1 if self.unit == "percent" else 3

    def shown(self, value: float) -> str:
        """A saved value in the metric's unit, without its sign."""
        return f"{self.scale * value:.{self.digits}f}"


_ALL = (
    *(Metric(f"closed/{group}", f"closed-set accuracy, {group}") for group in ("overall", *GROUPS)),
    *(Metric(f"open/{group}", f"open-set accuracy, {group}", needs_threshold=True) for group in ("overall", *GROUPS)),
    Metric("open/f_measure", "F-measure", "fraction", needs_threshold=True),
    Metric("open/f_measure_2019", "F-measure, 2019 (lenient)", "fraction", needs_threshold=True),
    Metric("open/macro_f1", "macro F1, K + 1 classes", "fraction", needs_threshold=True),
    Metric("open/balanced_accuracy", "balanced accuracy", needs_threshold=True),
    Metric("open/oscr", "OSCR", "fraction"),
    Metric("open/auroc", "AUROC", "fraction"),
    Metric("open/aupr_in", "AUPR, known positive", "fraction"),
    Metric("open/aupr_out", "AUPR, open positive", "fraction"),
    Metric("open/fpr95", "FPR at TPR 95 %", better="lower"),
    Metric("open/detection_error_tpr95", "detection error, TPR 95 %", better="lower"),
    Metric("open/detection_error_min", "detection error, lowest", better="lower"),
)
# Of oltr_cli.protocol.by_group.
_RARE_OR_UNKNOWN = (
    *(Metric(f"open/auroc_{group}", f"AUROC, {group} against open", "fraction") for group in GROUPS),
    *(Metric(f"open/fpr95_{group}", f"FPR at TPR 95 %, {group} against open", better="lower") for group in GROUPS),
    *(
        Metric(f"open/rejected{suffix}", f"rejected of {group}", better="lower", needs_threshold=True)
        for suffix, group in (("", "all known"), *((f"_{group}", group) for group in GROUPS))
    ),
    *(
        Metric(f"closed/{name}{suffix}", f"{label}{where}", "fraction", better="lower")
        for name, label in (("ece", "ECE, 15 equal-mass bins"), ("brier", "Brier score"))
        for suffix, where in (("", ""), *((f"_{group}", f", {group}") for group in GROUPS))
    ),
)
BY_GROUP = tuple(metric.name for metric in _RARE_OR_UNKNOWN)
METRICS = {metric.name: metric for metric in (*_ALL, *_RARE_OR_UNKNOWN)}
# Of each further open set too, as open_far/auroc: what depends on its samples. The others are of known samples alone.
_OF_KNOWN = ("overall", *GROUPS, "rejected", *(f"rejected_{group}" for group in GROUPS))
OF_A_SET = tuple(
    rest for half, _, rest in (name.partition("/") for name in METRICS) if half == "open" and rest not in _OF_KNOWN
)


def metric(name: str) -> Metric:
    """The facts about ``name``; ``open_far/auroc`` is as ``open/auroc``.

    A name without an entry, such as an identification rate, is a rate in percent.
    """
    part, _, rest = name.partition("/")
    if part.startswith("open_") and rest in OF_A_SET:
        alike = METRICS[f"open/{rest}"]
        return replace(alike, name=name, label=f"{alike.label}, {part}")
    return METRICS.get(name) or Metric(name, name)
