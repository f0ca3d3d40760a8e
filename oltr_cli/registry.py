"""Finds methods: a file in methods/, or another package's class under the entry point group ``oltr.methods``.

Listing reads the files' text only, so that ``oltr ls methods`` and misspelt names need no torch.
"""

import ast
import importlib
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from oltr_cli.errors import UsageProblem, nearest

if TYPE_CHECKING:
    from oltr_cli.method import Method

GROUP = "oltr.methods"


@dataclass(frozen=True)
class MethodInfo:
    """What can be said of a method without importing it."""

    name: str
    summary: str
    family: str
    source: str
    starts_from: str | None
    module: str
    class_name: str


def list_methods() -> dict[str, MethodInfo]:
    """Name → facts of every method at hand, sorted by name. A file ``tau_norm.py`` is the method ``tau-norm``."""
    found: dict[str, MethodInfo] = {}
    for file in resources.files("oltr_cli.methods").iterdir():
        if file.name.endswith(".py") and not file.name.startswith("_"):
            stem = file.name.removesuffix(".py")
            info = _read(stem.replace("_", "-"), f"oltr_cli.methods.{stem}", file.read_text(encoding="utf-8"))
            if info is not None:
                found[info.name] = info
    for point in entry_points(group=GROUP):
        found[point.name] = MethodInfo(
            point.name, f"from {point.module}", "other", "", None, point.module, point.attr or ""
        )
    return dict(sorted(found.items()))


def load_method(name: str) -> "type[Method]":
    """Import the class of a method.

    Raises:
        UsageProblem: there is no such method (the nearest name is given), or its file cannot be imported.
    """
    methods = list_methods()
    if name not in methods:
        raise UsageProblem(f"no method '{name}'{nearest(name, methods)}")
    info = methods[name]
    try:
        loaded: type[Method] = getattr(importlib.import_module(info.module), info.class_name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageProblem(f"method '{name}' cannot be loaded from {info.module}: {error}") from error
    return loaded


def method_chain(name: str) -> "list[tuple[str, type[Method]]]":
    """The method and all that it starts from, first ancestor first."""
    chain: list[tuple[str, type[Method]]] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in [seen for seen, _ in chain]:
            raise UsageProblem(f"methods start from each other: {' ← '.join(n for n, _ in chain)} ← {wanted}")
        cls = load_method(wanted)
        chain.append((wanted, cls))
        wanted = cls.starts_from
    return chain[::-1]


def _read(name: str, module: str, text: str) -> MethodInfo | None:
    """Facts from a method file's text: the first line of its docstring, and literals of its Method class."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return MethodInfo(name, f"cannot be read: line {error.lineno}", "broken", "", None, module, "")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Method" for b in node.bases):
            facts = dict(_literals(node))
            summary = (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")
            return MethodInfo(
                name,
                summary,
                str(facts.get("family", "other")),
                str(facts.get("source", "")),
                facts.get("starts_from"),
                module,
                node.name,
            )
    return None


def _literals(node: ast.ClassDef) -> list[tuple[str, str | None]]:
    """``name = "text"`` and ``name = None`` of a class body."""
    found: list[tuple[str, str | None]] = []
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            found.append((target.id, value.value if isinstance(value.value, str) else None))
    return found
