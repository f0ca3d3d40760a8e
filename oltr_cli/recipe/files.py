"""Where recipes are: the built-in ones by name, your own by path."""

import os
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any

from oltr_cli.base.digests import CHANGED, ON_PURPOSE, check_toml_digest
from oltr_cli.base.files import parse_toml
from oltr_cli.errors import DataProblem, OltrError, UsageProblem, nearest, several
from oltr_cli.recipe.home import data_home

BUILT_RECIPE = "recipe.toml"  # beside the lists of a dataset that was built here


def builtin_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with oltr."""
    with resources.as_file(resources.files("oltr_cli.recipes")) as folder:
        return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def built_datasets() -> dict[str, Path]:
    """Name → recipe of the datasets that ``oltr data build`` has put below ``$OLTR_DATA``."""
    return {path.parent.name: path for path in sorted(data_home().glob(f"*/{BUILT_RECIPE}"))}


def known_recipes() -> dict[str, Path]:
    """Name → file of all recipes that have a name: the built-in ones, and those of datasets built here."""
    return {**built_datasets(), **builtin_recipes()}


def find_recipe(name_or_file: str) -> Path:
    """The built-in recipe of that name, that of a dataset built here, or the file at that path.

    Raises:
        UsageProblem: neither exists.
    """
    known = known_recipes()
    if name_or_file in known:
        return known[name_or_file]
    path = Path(name_or_file)
    if path.suffix == ".toml" or os.sep in name_or_file:
        if path.is_file():
            return path
        if (path / BUILT_RECIPE).is_file():
            raise UsageProblem(f"{path} is a folder; give the recipe in it: --recipe {quote(str(path / BUILT_RECIPE))}")
        file = path.with_suffix(".toml") if path.name else "mine.toml"
        start = f"oltr cp {next(iter(builtin_recipes()))} {quote(str(file))}"
        raise UsageProblem(f"no recipe file {path}; create it with: {start}")
    raise UsageProblem(f"no dataset or recipe '{name_or_file}'{nearest(name_or_file, known)}")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        UsageProblem: not readable, or not TOML.
        DataProblem: it has a digest, and not that of its content.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_toml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: cannot be read ({error})") from None
    except ValueError as error:
        raise UsageProblem(f"{path}: not valid TOML: {error}") from None
    try:
        check_toml_digest(text)
    except ValueError:
        raise DataProblem(f"{path}: is {CHANGED}; restore it or, {ON_PURPOSE}, the last line") from None
    return content


def recorded_recipe(run_dir: Path) -> dict[str, dict[str, Any]]:
    """The tables of the recipe in a run's folder, for what is only shown; none where it is missing or damaged."""
    try:
        content = read_toml(run_dir / "recipe.toml")
    except OltrError:
        return {}
    return {name: table for name, table in content.items() if isinstance(table, dict)}


def read_recipe(path: Path) -> dict[str, Any]:
    """The tables of a recipe file, top level checked.

    Raises:
        UsageProblem: not readable, not TOML, or with an unknown top-level table.
    """
    content = read_toml(path)
    known = ("data", "backbone", "train", "stage1", "stage2", "method", "detector")
    problems = [f"unknown table [{key}]{nearest(key, known)}" for key in content if key not in known]
    tables = {key: content.get(key, {}) for key in known}
    for kind in ("method", "detector"):
        if isinstance(tables[kind], dict):
            tables |= {f"{kind}.{name}": table for name, table in tables[kind].items()}
    problems += [f"[{key}] must be a table" for key, table in tables.items() if not isinstance(table, dict)]
    if problems:
        raise UsageProblem(several(str(path), problems))
    content.setdefault("data", {}).setdefault("name", path.stem)
    return content


def first_comment(path: Path) -> str:
    """The comment that opens a recipe file, as one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
