"""Facts about a method or a detector, read from the text of its file: nothing is imported or run."""

from dataclasses import dataclass
from typing import Any, Literal

from oltr_cli.base.plugins import Origin, Plugin

BASES: dict[str, Literal["method", "detector"]] = {
    "Method": "method",
    "LinearMethod": "method",
    "FeatureMethod": "method",
    "Detector": "detector",
    "LogitDetector": "detector",
    "NetworkDetector": "detector",
}


@dataclass(frozen=True)
class MethodInfo:
    """What is known about a method or a detector without importing it.

    Attributes:
        summary: first line of the file's docstring; what is wrong if the family is "broken".
        starts_from: the method whose run it starts from; for a detector, the method it is used on in the paper.
        module: dotted name, or the path of an added file.
        trains: False if a run of it takes no training step.
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


def method_info(plugin: Plugin) -> MethodInfo:
    """The facts of a method's or a detector's class, with the defaults of its base."""
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
        str(facts["family"]) if plugin.class_name else "broken",
        str(facts.get("source", "")),
        start if isinstance(start, str) else None,
        plugin.module,
        plugin.class_name,
        kind,
        plugin.origin,
        bool(facts.get("trains", True)),
    )
