"""Finds plug-in classes: in files of a built-in folder, in added files, and in entry points of other packages.

Finding reads only the text of files, so that listing and misspelt names need no torch, and a broken file affects no
other. The plug-in in ``tau_norm.py`` is called ``tau-norm``.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from oltr_cli.base.added_files import added_files, name_of
from oltr_cli.base.class_text import Inherited, classes, inherited
from oltr_cli.errors import UsageProblem, first_line, nearest, with_type

Origin = Literal["built-in", "file", "entry point"]


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
        bases: names of the classes that plug-ins derive from.
        several: a class may have several names, which its ``names`` lists.
    """

    what: str
    package: str
    group: str
    bases: tuple[str, ...]
    several: bool = False

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

    def load(self, name: str) -> type:
        """Import the class of that name.

        Raises:
            UsageProblem: there is none, or its file cannot be imported.
        """
        found = self.find()
        if name not in found and name not in added_files():
            raise UsageProblem(f"no {self.what} '{name}'{nearest(name, found)}")
        plugin = found.get(name) or Plugin(name, no_class(self.bases), str(added_files()[name]), "file")
        if not plugin.class_name:
            raise self._broken(plugin, plugin.summary)
        try:
            load = _import_file if plugin.origin == "file" else importlib.import_module
            loaded = getattr(load(plugin.module), plugin.class_name)
        except (Exception, SystemExit) as error:  # added code may raise anything while it is imported
            clear = isinstance(error, ImportError | SyntaxError)
            raise self._broken(plugin, first_line(error) if clear else with_type(error)) from error
        if not isinstance(loaded, type):
            raise self._broken(plugin, f"{plugin.class_name} is not a class")
        return loaded

    def check_complete(self, name: str, cls: type, spared: Collection[str] = ()) -> None:
        """Refuse a class that does not define an ``abstractmethod`` of its contract, except those in ``spared``."""
        left = [n for n in dir(cls) if getattr(getattr(cls, n, None), "__isabstractmethod__", False)]
        if lacking := [n for n in left if n not in spared]:
            raise self._broken(self.find()[name], f"{cls.__name__} lacks {' and '.join(lacking)}")

    def read(self, name: str, module: str, text: str, origin: Origin, class_name: str | None = None) -> Plugin | None:
        """Facts from a file's text.

        Args:
            class_name: which class; default the only public one that derives from one of ``bases``, directly, through a
                class in the same file, or through one imported from ``package``.
        Returns:
            None if there is no such class; a plug-in without ``class_name`` for a file that is not Python or has two.
        """
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            return Plugin(name, f"line {error.lineno}: {error.msg}", module, origin)
        found = {}
        for node in classes(tree):
            if node.name == class_name or (class_name is None and not node.name.startswith("_")):
                above = inherited(node, tree, self.bases, self._of_ours)
                if above is not None:
                    found[node.name] = above
        if not found:
            return None
        if len(found) > 1:
            several = (
                f"has {len(found)} public classes, {' and '.join(found)}; let the names of all but one start with _"
            )
            return Plugin(name, several, module, origin)
        ((class_name, (base, facts)),) = found.items()
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
        if not module.startswith(f"{self.package}."):
            return None
        file = _folder(self.package) / f"{module.removeprefix(f'{self.package}.')}.py"
        plugin = self.read("", module, _text(file), "built-in", class_name) if file.is_file() else None
        if plugin is None:
            return None
        return plugin.base, {key: value for key, value in plugin.facts.items() if key != "names"}  # those are taken

    def _broken(self, plugin: Plugin, why: str) -> UsageProblem:
        return UsageProblem(f"{self.what} '{plugin.name}' cannot be loaded from {plugin.module}: {why}")


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
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.origin and spec.origin.endswith(".py"):
                plugin = plugins.read(name, module, _text(Path(spec.origin)), "entry point", class_name)
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
