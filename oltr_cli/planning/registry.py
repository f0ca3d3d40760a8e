"""Finds methods and detectors: files in methods/, files that were added, and the entry point group ``oltr.methods``.

Listing reads the files' text only (``method_info`` beside this), so that ``oltr ls methods`` and misspelt names need no
torch, and a broken file of somebody's spoils nothing but itself. A file ``tau_norm.py`` is the method ``tau-norm``.
"""

import importlib
import importlib.util
import os
import sys
from functools import lru_cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.planning.method_info import MethodInfo, read_method_file

if TYPE_CHECKING:
    from oltr_cli.detector import Detector
    from oltr_cli.method import Method

GROUP = "oltr.methods"
PLUS = "+"  # between a trained method and the detector on it

_added: dict[str, Path] = {}


def add_file(path: Path) -> None:
    """Take the method in a file outside the project into the registry, for this process.

    Raises:
        UsageProblem: no such file, no Python file, or its name is that of a built-in method.
    """
    path = path.expanduser().absolute()
    name = path.stem.replace("_", "-")
    if path.suffix != ".py" or not path.is_file():
        raise UsageProblem(f"--methods-from {path}: no such Python file")
    if name in _built_in() or _added.get(name, path) != path:
        raise UsageProblem(f"--methods-from {path}: there is a method '{name}' already; rename the file")
    _added[name] = path


def list_methods() -> dict[str, MethodInfo]:
    """Name → facts of every method and detector at hand, sorted by name."""
    found = dict(_built_in())
    found |= _from_packages()
    for path in map(Path, filter(None, os.environ.get("OLTR_METHODS", "").split(os.pathsep))):
        if path.stem.replace("_", "-") not in _added:
            add_file(path)
    for name, path in _added.items():
        found[name] = read_method_file(name, str(path), _text(path), "file") or MethodInfo(
            name, "has no class that derives from Method or Detector", "broken", module=str(path), origin="file"
        )
    return dict(sorted(found.items()))


def canonical(name: str) -> str:
    """``method`` or ``method+detector``: a detector that is a row of the paper stands on its method there.

    Raises:
        UsageProblem: there is no such method or detector (the nearest name is given), or the two do not make a pair.
    """
    methods = list_methods()
    base, plus, detector = name.partition(PLUS)
    for part in (base, detector) if plus else (base,):
        if part not in methods:
            raise UsageProblem(f"no method '{part}'{nearest(part, methods)}")
    if plus:
        if methods[base].kind != "method" or methods[detector].kind != "detector":
            raise UsageProblem(f"'{name}' is no pair of a trained method and a detector; see: oltr ls methods")
        return name
    if methods[base].kind == "method":
        return base
    under = methods[base].starts_from
    if under is None:
        raise UsageProblem(f"{base} is a detector; put it on a method: oltr run plain --detector {base}")
    return f"{under}{PLUS}{base}"


def load_method(name: str) -> "type[Method]":
    """Import the class of a trained method.

    Raises:
        UsageProblem: there is no such method, its file cannot be imported, or it is a detector.
    """
    from oltr_cli.method import Method

    cls = _load(name)
    if not issubclass(cls, Method):
        raise UsageProblem(f"{name} is a detector; put it on a method: oltr run plain --detector {name}")
    return cls


def load_detector(name: str) -> "type[Detector]":
    """Import the class of a detector.

    Raises:
        UsageProblem: there is no such detector, or its file cannot be imported.
    """
    from oltr_cli.detector import Detector

    cls = _load(name)
    if not issubclass(cls, Detector):
        detectors = [info.name for info in list_methods().values() if info.kind == "detector"]
        raise UsageProblem(f"{name} is no detector{nearest(name, detectors)}")
    return cls


def method_chain(name: str) -> "list[tuple[str, type[Method]]]":
    """The trained method and all that it starts from, first ancestor first."""
    chain: list[tuple[str, type[Method]]] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in [seen for seen, _ in chain]:
            raise UsageProblem(f"methods start from each other: {' ← '.join(n for n, _ in chain)} ← {wanted}")
        cls = load_method(wanted)
        chain.append((wanted, cls))
        wanted = cls.starts_from
    return chain[::-1]


@lru_cache(maxsize=1)
def _built_in() -> dict[str, MethodInfo]:
    found = {}
    for file in resources.files("oltr_cli.methods").iterdir():
        if file.name.endswith(".py") and not file.name.startswith("_"):
            stem = file.name.removesuffix(".py")
            info = read_method_file(
                stem.replace("_", "-"), f"oltr_cli.methods.{stem}", file.read_text(encoding="utf-8"), "built-in"
            )
            if info is not None:
                found[info.name] = info
    return found


@lru_cache(maxsize=1)
def _from_packages() -> dict[str, MethodInfo]:
    """What other installed packages bring: looked for once, since it means reading the metadata of all of them."""
    return {p.name: _entry_point(p.name, p.module, p.attr or "") for p in entry_points(group=GROUP)}


def _load(name: str) -> type:
    methods = list_methods()
    if name not in methods:
        raise UsageProblem(f"no method '{name}'{nearest(name, methods)}")
    info = methods[name]
    if not info.class_name:
        raise UsageProblem(f"method '{name}' cannot be loaded from {info.module}: {info.summary}")
    try:
        module = _import_file(Path(info.module)) if info.origin == "file" else importlib.import_module(info.module)
        loaded = getattr(module, info.class_name)
    except Exception as error:  # somebody else's code may raise anything while it is imported
        what = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError | SyntaxError) else str(error)
        raise UsageProblem(f"method '{name}' cannot be loaded from {info.module}: {what}") from error
    if not isinstance(loaded, type):
        raise UsageProblem(f"method '{name}' cannot be loaded from {info.module}: {info.class_name} is no class")
    return loaded


def _import_file(path: Path) -> ModuleType:
    """The module in a file, imported once; loading processes that start anew find it by the same name."""
    name = f"oltr_added_{path.stem}"
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


def _entry_point(name: str, module: str, attribute: str) -> MethodInfo:
    """Facts of another package's method, read from its file where that can be found."""
    info = None
    try:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            info = read_method_file(name, module, _text(Path(spec.origin)), "entry point", attribute)
    except Exception:  # finding a module imports its package, which may raise anything
        info = None
    return info or MethodInfo(
        name, f"from {module}", "other", module=module, class_name=attribute, origin="entry point"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: cannot be read ({error})") from None
