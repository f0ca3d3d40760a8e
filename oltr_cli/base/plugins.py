"""Finds plug-in classes: in files of a built-in folder, in added files, and in entry points of other packages.

Finding reads only the text of files, so that listing and misspelt names need no torch, and a broken file affects no
other. The plug-in in ``tau_norm.py`` is called ``tau-norm``.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from oltr_cli.base.added_code import add_source, in_one_line, line_in
from oltr_cli.base.added_files import added_files, name_of
from oltr_cli.base.class_text import Inherited, NoLiteral, classes, inherited
from oltr_cli.errors import UsageProblem, first_line, nearest

Origin = Literal["built-in", "file", "entry point"]
# The classes of the contracts, by the package of the built-in classes that derive from them.
CONTRACTS = {
    "oltr_cli.methods": (
        *("Method", "LinearMethod", "FeatureMethod"),
        *("Detector", "LogitDetector", "NetworkDetector"),
    ),
    "oltr_cli.networks.backbones": ("Backbone",),
}
_EVERY_BASE = tuple(base for bases in CONTRACTS.values() for base in bases)


@dataclass(frozen=True)
class Plugin:
    """What is known about a class without importing it.

    Attributes:
        summary: first line of the file's docstring; what is wrong, if there is no ``class_name``.
        module: dotted name, or the path of an added file.
        base: the class of the contract that it derives from; empty if its file cannot be read.
        facts: each ``name = literal`` in its body, and in those of the classes in between.
    """

    name: str
    summary: str
    module: str
    origin: Origin
    class_name: str = ""
    base: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plugins:
    """One kind of plug-in, and where it is found.

    Attributes:
        what: its name in messages, such as "method".
        package: the built-in package; a file whose name starts with _ is a helper.
        group: entry point group of other packages.
        told: the class attributes that are read from the text of a file, and so must be literals.
        several: a class may have several names, which its ``names`` lists.
    """

    what: str
    package: str
    group: str
    told: tuple[str, ...]
    several: bool = False

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of the classes that plug-ins derive from."""
        return CONTRACTS[self.package]

    def find(self) -> dict[str, Plugin]:
        """Name → plug-in of all that are found, the built-in ones first.

        Raises:
            UsageProblem: an added file cannot be read, or has the name of a built-in one.
        """
        built_in = _built_in(self)
        found = {**built_in, **_from_packages(self)}
        for name, path in added_files().items():
            for plugin in self._named(self.read(name, str(path), _text(path), "file")):
                if plugin.name in built_in:
                    raise UsageProblem(f"{path}: a {self.what} '{plugin.name}' exists already; rename the file")
                found[plugin.name] = plugin
        return found

    def named(self, name: str) -> Plugin | None:
        """The plug-in of that name: its own, or that of all names with the same beginning, such as "timm/NAME"."""
        found, (family, slash, _) = self.find(), name.partition("/")
        return found.get(name) or (found.get(f"{family}/NAME") if slash else None)

    def load(self, name: str, hint: Callable[[str, Iterable[str]], str] = nearest) -> type:
        """Import the class of that name.

        Args:
            hint: what to say of a name that is none, given the known ones.
        Raises:
            UsageProblem: there is none, or its file cannot be imported.
        """
        plugin = self.named(name)
        if plugin is None and name not in added_files():
            raise UsageProblem(f"no {self.what} '{name}'{hint(name, self.find())}")
        plugin = plugin or Plugin(name, no_class(self.bases), str(added_files()[name]), "file")
        if not plugin.class_name:
            raise self._broken(plugin, plugin.summary)
        try:
            load = _import_file if plugin.origin == "file" else importlib.import_module
            loaded = getattr(load(plugin.module), plugin.class_name)
        except (Exception, SystemExit) as error:  # added code may raise anything while it is imported
            raise self._broken(plugin, _why(error, plugin.module)) from error
        if not isinstance(loaded, type):
            raise self._broken(plugin, f"{plugin.class_name} is not a class")
        if plugin.origin != "built-in":
            add_source(str(getattr(sys.modules[loaded.__module__], "__file__", "")))
        return loaded

    def refuse(self, name: str, why: str) -> UsageProblem:
        """The error for a class that can be imported and does not keep to its contract."""
        return self._broken(self.named(name) or Plugin(name, "", "", "built-in"), why)

    def check_complete(self, name: str, cls: type, spared: Collection[str] = ()) -> None:
        """Refuse a class that does not define an ``abstractmethod`` of its contract, except those in ``spared``."""
        left = [n for n in dir(cls) if getattr(getattr(cls, n, None), "__isabstractmethod__", False)]
        if lacking := [n for n in left if n not in spared]:
            raise self.refuse(name, f"{cls.__name__} lacks {' and '.join(lacking)}")

    def read(self, name: str, module: str, text: str, origin: Origin, class_name: str | None = None) -> Plugin | None:
        """Facts from a file's text.

        Args:
            class_name: which class; default the only public one that derives from one of ``bases``, directly, through a
                class in the same file, or through one imported from ``package``.
        Returns:
            None if there is no such class; a plug-in without ``class_name`` for a file that is not Python, has two
            such classes, of whichever contract, or an attribute in ``told`` that is no literal.
        """
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            return Plugin(name, f"line {error.lineno}: {error.msg}", module, origin)
        found = {}
        for node in classes(tree):
            if node.name == class_name or (class_name is None and not node.name.startswith("_")):
                above = inherited(node, tree, _EVERY_BASE, self._of_ours)
                if above is not None:
                    found[node.name] = above
        if not any(base in self.bases for base, _ in found.values()):
            return None
        if len(found) > 1:
            several = (
                f"has {len(found)} public classes, {' and '.join(found)}; let the names of all but one start with _"
            )
            return Plugin(name, several, module, origin)
        ((class_name, (base, facts)),) = found.items()
        for key in self.told:
            if isinstance(value := facts.get(key), NoLiteral):
                return Plugin(name, f"line {value.line}: {key} is read from the text; write a literal", module, origin)
        facts = {key: value for key, value in facts.items() if not isinstance(value, NoLiteral)}
        summary = (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")
        return Plugin(name, summary, module, origin, class_name, base, facts)

    def _named(self, plugin: Plugin | None) -> Iterator[Plugin]:
        """The plug-in under each of its names."""
        if plugin is not None:
            names = plugin.facts.get("names") if self.several else None
            for name in names if isinstance(names, tuple | list) else (names or plugin.name,):
                yield replace(plugin, name=str(name))

    def _of_ours(self, module: str, class_name: str) -> Inherited | None:
        """Facts of a class in a built-in file; None for any other module."""
        package, _, stem = module.rpartition(".")
        file = _folder(package) / f"{stem}.py" if package in CONTRACTS else None
        if file is None or not file.is_file():
            return None
        tree = ast.parse(_text(file))
        node = next((node for node in classes(tree) if node.name == class_name), None)
        above = inherited(node, tree, _EVERY_BASE, self._of_ours) if node is not None else None
        if above is None:
            return None
        return above[0], {key: value for key, value in above[1].items() if key != "names"}  # those are taken

    def _broken(self, plugin: Plugin, why: str) -> UsageProblem:
        return UsageProblem(f"{self.what} '{plugin.name}' cannot be loaded from {plugin.module}: {why}")


def _why(error: BaseException, file: str) -> str:
    """What went wrong while a file was imported, with the line of it where that is known."""
    line = line_in(error, file)
    said = first_line(error) if isinstance(error, ImportError | SyntaxError) else in_one_line(error)
    return said if line is None else f"line {line}: {said}"


def module_docstring(module: str) -> str:
    """The docstring at the top of a file, without importing it; "" if there is none.

    Args:
        module: dotted name, or the path of an added file.
    """
    file = source_file(module)
    return "" if file is None else ast.get_docstring(ast.parse(_text(file))) or ""


def source_file(module: str) -> Path | None:
    """The Python file of a module, which is not imported, though the packages above it are; None if there is none.

    Args:
        module: dotted name, or the path of an added file.
    """
    if module.endswith(".py"):
        return Path(module)
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def no_class(bases: Collection[str]) -> str:
    """What is wrong with a file without a plug-in."""
    *others, last = bases
    return f"has no public class that derives from {', '.join(others) + ' or ' if others else ''}{last}"


@lru_cache(maxsize=8)
def _built_in(plugins: Plugins) -> dict[str, Plugin]:
    found: dict[str, Plugin] = {}
    for file in sorted(_folder(plugins.package).glob("[!_]*.py")):
        plugin = plugins.read(name_of(file), f"{plugins.package}.{file.stem}", _text(file), "built-in")
        found |= {one.name: one for one in plugins._named(plugin)}
    return found


@lru_cache(maxsize=8)
def _from_packages(plugins: Plugins) -> dict[str, Plugin]:
    """Plug-ins of other installed packages: searched once, since this reads the metadata of all packages."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=plugins.group):
        name, module, class_name = point.name, point.module, point.attr or ""
        plugin = None
        with suppress(Exception):  # finding a module imports its package, which may raise anything
            if (file := source_file(module)) is not None:
                plugin = plugins.read(name, module, _text(file), "entry point", class_name)
        found[name] = plugin or Plugin(name, f"from {module}", module, "entry point", class_name)
    return found


def _import_file(path: str) -> ModuleType:
    """The module in a file, imported once; newly started loading processes find it by the same name."""
    name = f"oltr_added_{Path(path).stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _folder(package: str) -> Path:
    """The folder of a built-in package; only its parent package is imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: cannot be read ({error})") from None
