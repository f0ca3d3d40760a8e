"""Facts about a class from the text of its file: its bases, and the literals in its body."""

import ast
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

Inherited = tuple[
    str, dict[str, Any]
]  # the contract's class from which another class derives, and the facts collected on the way


@dataclass(frozen=True)
class NoLiteral:
    """The value of an attribute that cannot be told without running the file; ``line`` has it."""

    line: int


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
            return above[0], {**above[1], **_attributes(node, _constants(tree))}
    return None


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Each ``NAME = value`` at the top level of a file that is assigned once."""
    pairs = [pair for pair in map(_assignment, tree.body) if pair is not None]
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}


def _attributes(node: ast.ClassDef, constants: dict[str, ast.expr]) -> dict[str, Any]:
    """Each ``name = value`` of a class body, as a literal or a constant of the file says it; else ``NoLiteral``."""
    found: dict[str, Any] = {}
    for name, value in filter(None, map(_assignment, node.body)):
        meant = constants.get(value.id, value) if isinstance(value, ast.Name) else value
        try:
            found[name] = ast.literal_eval(meant)
        except (ValueError, TypeError):
            found[name] = NoLiteral(value.lineno)
    return found


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    value = getattr(statement, "value", None)
    if isinstance(statement, ast.AugAssign):  # what it adds is not the whole value
        value = ast.copy_location(ast.BinOp(statement.target, statement.op, statement.value), statement)
    return (target.id, value) if isinstance(target, ast.Name) and isinstance(value, ast.expr) else None
