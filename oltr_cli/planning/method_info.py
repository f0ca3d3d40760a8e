"""What a method's file says of itself, read from its text: nothing is imported or run."""

import ast
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

BASES: dict[str, Literal["method", "detector"]] = {
    "Method": "method",
    "LinearMethod": "method",
    "FeatureMethod": "method",
    "Detector": "detector",
    "LogitDetector": "detector",
    "NetworkDetector": "detector",
}
_BUILT_IN = "oltr_cli.methods."


@dataclass(frozen=True)
class MethodInfo:
    """What can be said of a method or a detector without importing it.

    Attributes:
        summary: first line of the file's docstring; what is wrong, when the family is "broken".
        starts_from: the method whose run it starts from; of a detector, the one under it in the paper's row.
        module: dotted name, or the path of a file that was added.
        trains: False when a run of it takes no step.
    """

    name: str
    summary: str
    family: str
    source: str = ""
    starts_from: str | None = None
    module: str = ""
    class_name: str = ""
    kind: Literal["method", "detector"] = "method"
    origin: Literal["built-in", "file", "entry point"] = "built-in"
    trains: bool = True


def read_method_file(
    name: str,
    module: str,
    text: str,
    origin: Literal["built-in", "file", "entry point"],
    class_name: str | None = None,
) -> MethodInfo | None:
    """Facts from a file's text: the first line of its docstring, and the literals of its class.

    Args:
        class_name: which class; default the first that derives from one of ``BASES`` or from a built-in method.
    Returns:
        None when there is no such class; a file that is not Python comes back with the family "broken".
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return MethodInfo(name, f"line {error.lineno}: {error.msg}", "broken", module=module, origin=origin)
    summary = (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or class_name not in (None, node.name):
            continue
        inherited = _inherited(node, tree)
        if inherited is None:
            continue
        facts = dict(_literals(node))
        return replace(
            inherited,
            name=name,
            summary=summary,
            module=module,
            class_name=node.name,
            origin=origin,
            family=str(facts.get("family", inherited.family)),
            source=str(facts.get("source", inherited.source)),
            starts_from=_text_or_none(facts.get("starts_from", inherited.starts_from)),
            trains=bool(facts.get("trains", inherited.trains)),
        )
    return None


def _inherited(node: ast.ClassDef, tree: ast.Module) -> MethodInfo | None:
    """What a class has from its base: one of ``BASES``, or a built-in method imported from its file."""
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name in BASES:
            family = "open-set detector" if BASES[name] == "detector" else "other"
            start = "plain" if name == "FeatureMethod" else None
            return MethodInfo("", "", family, starts_from=start, kind=BASES[name])
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(_BUILT_IN):
                original = next((a.name for a in statement.names if (a.asname or a.name) == name), None)
                if original is not None:
                    stem = (statement.module or "").removeprefix(_BUILT_IN)
                    file = resources.files("oltr_cli.methods") / f"{stem}.py"
                    if file.is_file():
                        return read_method_file(name, "", file.read_text(encoding="utf-8"), "built-in", original)
    return None


def _literals(node: ast.ClassDef) -> list[tuple[str, object]]:
    """``name = literal`` of a class body: texts, None, True and False."""
    found: list[tuple[str, object]] = []
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            found.append((target.id, value.value))
    return found


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
