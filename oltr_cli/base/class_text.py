"""Facts about a class from the text of its file: its bases, and the literals in its body."""

import ast
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

Inherited = tuple[
    str, dict[str, Any]
]  # the contract's class from which another class derives, and the facts collected on the way


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The top-level classes of a file."""
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def inherited(
    node: ast.ClassDef, tree: ast.Module, bases: Collection[str], elsewhere: Callable[[str, str], Inherited | None]
) -> Inherited | None:
    """Which of ``bases`` a class derives from, and its facts and those of the classes in between, the nearest winning.

    Args:
        elsewhere: answers this for an imported class, by module and name.
    Returns:
        None for a class that derives from none of them.
    """
    before = {n.name: n for n in classes(tree) if n.lineno < node.lineno}
    imported = {
        alias.asname or alias.name: (statement.module or "", alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    for base in node.bases:
        expression = base.value if isinstance(base, ast.Subscript) else base  # Method[Params] is a Method
        name = expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")
        module, original = imported.get(name, ("", name))
        if name in before:
            above = inherited(before[name], tree, bases, elsewhere)
        else:
            above = (original, {}) if original in bases else elsewhere(module, original)
        if above is not None:
            return above[0], {**above[1], **_literals(node)}
    return None


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    """Each ``name = literal`` of a class body."""
    found = {}
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            with suppress(ValueError, TypeError):  # not a literal
                found[target.id] = ast.literal_eval(value)
    return found
