"""Methods and detectors by name: files in methods/, added files, and the entry point group ``oltr.methods``.

Listing reads only the text of the files (``oltr_cli.base.plugins``), and needs no torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from oltr_cli.base.added_files import added_files, given_files
from oltr_cli.base.plugins import Origin, Plugin, Plugins, no_class
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.recipe.backbones import BACKBONES
from oltr_cli.runs.made_with import hint

if TYPE_CHECKING:
    from oltr_cli.detector import Detector
    from oltr_cli.method import Method

BASES: dict[str, Literal["method", "detector"]] = {
    "Method": "method",
    "LinearMethod": "method",
    "FeatureMethod": "method",
    "Detector": "detector",
    "LogitDetector": "detector",
    "NetworkDetector": "detector",
}
METHODS = Plugins(
    "method",
    "oltr_cli.methods",
    "oltr.methods",
    ("starts_from", "family", "source", "trains", "uses_outliers", "adapts_blocks"),
)
BROKEN = "broken"  # family of a file without a class that can be used
PLUS = "+"  # between a trained method and the detector on it


@dataclass(frozen=True)
class MethodInfo:
    """What can be said of a method or a detector without importing it.

    Attributes:
        summary: first line of the file's docstring; what is wrong, when the family is ``BROKEN``.
        starts_from: the method whose run it starts from; of a detector, the one under it in the paper's row.
        module: dotted name, or the path of a file that was added.
        trains: False when a run of it takes no step.
        uses_outliers: True when it needs a list of outliers.
        adapts_blocks: True when it needs a pre-trained transformer.
    """

    name: str
    summary: str
    family: str
    source: str = ""
    starts_from: str | None = None
    module: str = ""
    class_name: str = ""
    kind: Literal["method", "detector"] = "method"
    origin: Origin = "built-in"
    trains: bool = True
    uses_outliers: bool = False
    adapts_blocks: bool = False


def method_info(plugin: Plugin) -> MethodInfo:
    """The facts of a method's or a detector's class, with what its base gives where it says nothing."""
    kind = BASES.get(plugin.base, "method")
    usual: dict[str, Any] = {
        "family": "open-set detector" if kind == "detector" else "other",
        "starts_from": "plain" if plugin.base == "FeatureMethod" else None,
    }
    facts = {**usual, **plugin.facts}
    start = facts["starts_from"]
    return MethodInfo(
        plugin.name,
        plugin.summary,
        str(facts["family"]) if plugin.class_name else BROKEN,
        str(facts.get("source", "")),
        start if isinstance(start, str) else None,
        plugin.module,
        plugin.class_name,
        kind,
        plugin.origin,
        bool(facts.get("trains", True)),
        bool(facts.get("uses_outliers", False)),
        bool(facts.get("adapts_blocks", False)),
    )


def list_methods() -> dict[str, MethodInfo]:
    """Name → facts of every method and detector found, sorted by name; a broken file is listed too."""
    found = {name: method_info(plugin) for name, plugin in METHODS.find().items()}
    if added := added_files():
        backbones = {plugin.module for plugin in BACKBONES.find().values()}
        for name, path in added.items():
            if name not in found and str(path) not in backbones:
                wrong = no_class((*BASES, *BACKBONES.bases))
                found[name] = MethodInfo(name, wrong, BROKEN, module=str(path), origin="file")
    return dict(sorted(found.items()))


def canonical(name: str) -> str:
    """``method`` or ``method+detector``: a detector alone is used on the method of its row in the paper.

    Raises:
        UsageProblem: there is no such method or detector (the nearest name is given), or the two do not go together.
    """
    methods = list_methods()
    base, plus, detector = name.partition(PLUS)
    for part in (base, detector) if plus else (base,):
        if part not in methods:
            what, known = ("detector", _detectors(methods)) if part is not base else ("method", list(methods))
            raise UsageProblem(f"no {what} '{part}'{hint(part, known)}")
        if methods[part].family == BROKEN:
            METHODS.load(part)  # says what is wrong
    if plus:
        if methods[base].kind != "method" or methods[detector].kind != "detector":
            raise UsageProblem(f"'{name}' is not METHOD+DETECTOR, as dme+energy is; see: oltr ls methods")
        return name
    if methods[base].kind == "method":
        return base
    under = methods[base].starts_from
    if under is None:
        raise UsageProblem(_put_it_on_a_method(base))
    return f"{under}{PLUS}{base}"


def files_of(method: str, backbone: str) -> dict[str, str]:
    """The added files of a run: names of its method, detector and backbone → files; none of what is installed."""
    used = [(METHODS, name) for name in method.split(PLUS)] + [(BACKBONES, backbone)]
    found = {name: plugins.named(name) for plugins, name in used}
    return {name: plugin.module for name, plugin in found.items() if plugin is not None and plugin.origin == "file"}


def load_method(name: str) -> "type[Method]":
    """Import the class of a trained method.

    Raises:
        UsageProblem: there is no such method, its file cannot be imported or is incomplete, or it is a detector.
    """
    from oltr_cli.method import Method

    cls = METHODS.load(name, hint)
    if not issubclass(cls, Method):
        raise UsageProblem(_put_it_on_a_method(name))
    _check_threshold_rule(name, cls)
    METHODS.check_complete(name, cls, () if cls.trains else ("training_loss", "feature_loss"))
    return cls


def load_detector(name: str) -> "type[Detector]":
    """Import the class of a detector.

    Raises:
        UsageProblem: there is no such detector, or its file cannot be imported, is incomplete or has an unusable rule.
    """
    from oltr_cli.detector import Detector

    methods = list_methods()
    if name not in methods:
        raise UsageProblem(f"no detector '{name}'{hint(name, _detectors(methods))}")
    cls = METHODS.load(name, hint)
    if not issubclass(cls, Detector):
        raise UsageProblem(f"{name} is not a detector{nearest(name, _detectors(methods))}")
    own_way = any(getattr(cls, step) is not getattr(Detector, step) for step in ("score", "judge"))
    METHODS.check_complete(name, cls, ("confidence",) if own_way else ())
    _check_threshold_rule(name, cls)
    cls.registered_as = name
    return cls


def _detectors(methods: dict[str, MethodInfo]) -> list[str]:
    return [name for name, info in methods.items() if info.kind == "detector"]


def _check_threshold_rule(name: str, cls: type) -> None:
    """Refuse before anything is trained what a run could not use as its own rule."""
    from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule

    text = getattr(cls, "threshold_rule", PAPER_RULE)
    allowed = "a class's own is a number, id_quantile:Q, group_quantile:Q, class_quantile:Q or val_open"
    try:
        rule = ThresholdRule.parse(str(text))
    except UsageProblem as problem:
        raise METHODS.refuse(name, f"threshold_rule: {problem}; {allowed}") from None
    if rule.marks_test_leak or rule.name in ("tuned", "own"):
        why = "reads the labels of the test set" if rule.marks_test_leak else "is no rule by itself"
        raise METHODS.refuse(name, f"threshold_rule {rule.text} {why}; {allowed}")


def _put_it_on_a_method(detector: str) -> str:
    return f"{detector} is a detector; add it to a method: oltr run plain --detector {detector}{given_files()}"
