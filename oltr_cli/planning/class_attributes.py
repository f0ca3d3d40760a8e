"""Attributes of a method's or detector's class without importing its file, which would import torch.

Only the attribute and what it is made of are executed: names at the top of the file that it uses, and theirs. A name
that the file imports is looked up in the text of the other file in the same way, or imported where that is quick.
"""

import ast
import importlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from oltr_cli.base.plugins import source_file

QUICK = {"annotated_types", "collections.abc", "enum", "math", "numpy", "oltr_cli.recipe.specs", "pydantic", "re"}
QUICK |= {"typing", "typing_extensions"}


class _Unclear(Exception):
    """Only importing the file would tell."""


@lru_cache(maxsize=256)  # classes among them are the same ones in every plan
def attributes_of(module: str, class_name: str, names: tuple[str, ...]) -> list[Any] | None:
    """Some attributes of a class, equal to what an import would give.

    Args:
        module: dotted name, or the path of a file.
    Returns:
        None if the text does not tell; the caller then has to import the class.
    """
    try:
        return [_Text.of(module).attribute(class_name, name) for name in names]
    except Exception:  # also if the class itself is wrong: the import says how
        return None


class _Text:
    """The text of one file, and the names at its top that were needed so far."""

    def __init__(self, path: Path, package: str) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.package = package
        self.values: dict[str, Any] = {"__name__": f"{__name__}.{path.stem}"}
        self.flags = 0
        self.defined: dict[str, ast.stmt] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in tree.body:
            self._note(node)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(module: str) -> "_Text":
        file = source_file(module)
        if file is None:
            raise _Unclear
        if module.endswith(".py"):
            return _Text(file, "")
        return _Text(file, module if file.name == "__init__.py" else module.rpartition(".")[0])

    def attribute(self, class_name: str, name: str) -> Any:
        """``class_name.name``, of the class or of the first of its bases that has it."""
        node = self.defined.get(class_name)
        if node is None and class_name in self.imported:
            module, original = self.imported[class_name]
            return _Text.of(module).attribute(original, name)
        if not isinstance(node, ast.ClassDef):
            raise _Unclear
        for inner in node.body:
            if name in _defines(inner):
                return self._run(inner, name)
        for base in node.bases:
            known = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(known, ast.Name):
                with suppress(_Unclear):
                    return self.attribute(known.id, name)
        raise _Unclear

    def value(self, name: str) -> Any:
        """What ``name`` at the top of the file stands for."""
        if name not in self.values:
            if name in self.defined:
                self._run(self.defined[name], name)
            elif name in self.imported:
                module, original = self.imported[name]
                quick = module in QUICK
                source = importlib.import_module(module) if quick else _Text.of(module)
                self.values[name] = source.value(original) if isinstance(source, _Text) else getattr(source, original)
            else:
                raise _Unclear
        return self.values[name]

    def _run(self, node: ast.stmt, name: str) -> Any:
        for used in _names(node):
            if used in self.defined or used in self.imported:
                self.value(used)
        code = compile(ast.Module([node], []), name, "exec", self.flags, dont_inherit=True)
        exec(code, self.values)
        made = self.values[name]
        if isinstance(made, type) and issubclass(made, BaseModel):  # annotations may be text until now
            made.model_rebuild(_types_namespace=self.values)
        return made

    def _note(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom):
            if node.module == "__future__":
                self.flags |= __import__("__future__").annotations.compiler_flag
                return
            module = node.module or ""
            if node.level:
                above = self.package.split(".")
                module = ".".join([*above[: len(above) - node.level + 1], *([module] if module else [])])
            self.imported |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
        self.defined |= dict.fromkeys(_defines(node), node)


def _defines(node: ast.stmt) -> list[str]:
    """The names that a statement gives a value."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _names(node: ast.stmt) -> Iterator[str]:
    """Names that are read in a statement."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id
