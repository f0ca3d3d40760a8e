"""The layout that docs/design.md draws: which room may import which, read from the imports themselves."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top floor down: a room imports from rooms below it, never from one above.
ROOMS = (
    *("__main__", "app", "commands", "api", "report", "figures", "tables", "tuning", "launching", "pipeline"),
    *("conformance", "inference", "training", "planning", "data", "methods", "detector", "method", "drawing"),
    *("protocol", "tracking", "networks", "runs", "recipe", "base", "errors", "__init__"),
)
FLAT = {"__init__", "__main__", "app", "errors", "method", "detector"}
FLAT_IN_DATA = {"__init__", "images", "longtail"}
METHODS_MAY_IMPORT = {"method", "detector", "errors", "networks", "methods"}


def modules() -> dict[str, Path]:
    """Dotted name → file of all modules of the package; methods/ is installed as oltr_cli.methods."""
    found = {}
    for folder, package in ((ROOT / "oltr_cli", ()), (ROOT / "methods", ("methods",))):
        for file in sorted(folder.rglob("*.py")):
            parts = (*package, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(parts)] = file
    return found


MODULES = modules()
PACKAGES = {name.removesuffix(".__init__") for name in MODULES if name.endswith(".__init__")}


def imports_of(name: str) -> set[str]:
    """Modules of ours and of others that a module imports anywhere in its text; ours without ``oltr_cli.``."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = "oltr_cli." + ".".join(name.split(".")[: -node.level]) + "." if node.level else ""
            module = above + (node.module or "")
            found |= {f"{module}.{a.name}" if known(f"{module}.{a.name}") else module for a in node.names}
    return {module.removeprefix("oltr_cli.") if module != "oltr_cli" else "__init__" for module in found}


def known(module: str) -> bool:
    short = module.removeprefix("oltr_cli.")
    return module.startswith("oltr_cli.") and (short in MODULES or short in PACKAGES)


def own(name: str) -> set[str]:
    """The modules of this package that ``name`` imports."""
    return {target for target in imports_of(name) if target in MODULES or target in PACKAGES}


def room(name: str) -> str:
    return name.partition(".")[0]


def folder(name: str) -> str:
    """The folder of a module; the flat modules of oltr_cli each count as one, and so do those of data."""
    if name in PACKAGES:
        return name
    above = name.rpartition(".")[0]
    return name if above in ("", "data") else above


def test_flat_modules_are_few():
    assert {name for name in MODULES if "." not in name} == FLAT
    assert {p.stem for p in (ROOT / "oltr_cli" / "data").glob("*.py")} == FLAT_IN_DATA


def test_every_room_has_a_floor_and_says_what_belongs_there():
    assert {room(name) for name in MODULES} == set(ROOMS)
    for package in PACKAGES:
        assert ast.get_docstring(ast.parse(MODULES[f"{package}.__init__"].read_text(encoding="utf-8"))), package


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_down(name: str):
    floor = ROOMS.index(room(name))
    up = {target for target in own(name) if ROOMS.index(room(target)) < floor}
    assert not up, f"{name} imports from a floor above it"


def test_no_folder_imports_one_that_imports_it():
    arrows = {(folder(name), folder(target)) for name in MODULES for target in own(name)}
    assert not {(a, b) for a, b in arrows if a < b and (b, a) in arrows}


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count: a circle of modules has no first one to read."""
    left = {name.removesuffix(".__init__"): own(name) for name in MODULES}
    while leaves := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in leaves}
    assert not left


def test_methods_know_the_contracts_alone():
    for name in MODULES:
        if room(name) == "methods":
            assert {room(target) for target in own(name)} <= METHODS_MAY_IMPORT, name


def test_only_commands_know_typer():
    users = {room(name) for name in MODULES if any(room(target) == "typer" for target in imports_of(name))}
    assert users <= {"app", "commands"}


def test_data_does_not_know_who_uses_it():
    above = set(ROOMS[: ROOMS.index("data")])
    assert not {target for name in MODULES if room(name) == "data" for target in own(name)} & above


def test_rooms_in_the_map_are_those_on_disk():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    listed = [line.split("`")[1].rstrip("/") for line in text.splitlines() if line.startswith("| `oltr_cli/")]
    rooms = [Path(place).stem if place.endswith(".py") else place.removeprefix("oltr_cli/") for place in listed]
    order = [ROOMS.index(name.split("/")[0].removesuffix(".py")) for name in rooms]
    assert all(a <= b for a, b in pairwise(order)), "the map lists the rooms from the top floor down"
    assert {p.name for p in (ROOT / "oltr_cli").iterdir() if (p / "__init__.py").exists()} <= set(rooms)
