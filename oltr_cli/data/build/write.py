"""Writing a built dataset so that lists of two builds never mix, whenever the program is killed.

The recipe is removed first and written last: without it no command takes the folder for a dataset. Lists of other
origin are never replaced, and a recipe that is written anew is kept beside the new one: it may have been edited.
"""

import itertools
from pathlib import Path

from pydantic import ValidationError

from oltr_cli.base.files import parse_toml, write_text
from oltr_cli.data.build.recipe import same_settings
from oltr_cli.data.lists.kept_together import GROUPS
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import BUILT_RECIPE, builtin_recipes

_OLD_RECIPE = f".{BUILT_RECIPE}.old"  # marks the lists beside it as ours while they are being replaced
_KEPT_RECIPE = "recipe.old{}.toml"  # with a number from 2 on if the name is taken
_OPTIONAL = ("open.txt", "open_val.txt", GROUPS)


def write_dataset(folder: Path, texts: dict[str, str], force: bool) -> tuple[list[str], str]:
    """Write the files ``texts`` (name → content, with the recipe) that do not have this content yet.

    Returns:
        Their names, and the name of the file that the replaced recipe was moved to, or "".
    Raises:
        DataProblem: the folder holds another build and not ``force``, or files of other origin.
        OltrError: the folder cannot be written.
    """
    recipe, old = folder / BUILT_RECIPE, folder / _OLD_RECIPE
    stale = [name for name in _OPTIONAL if name not in texts and (folder / name).exists()]
    other = [name for name, text in texts.items() if (folder / name).exists() and not _says(folder / name, text)]
    missing = [name for name in texts if not (folder / name).exists()]
    if stale or other:
        _refuse(folder, other + stale, only_recipe=other == [BUILT_RECIPE] and not stale + missing, force=force)
        try:
            if recipe.exists():
                if old.exists():  # from a call that was killed at its end
                    _keep(old)
                recipe.replace(old)
            for name in stale:
                (folder / name).unlink()
        except OSError as error:
            raise OltrError(f"{folder}: cannot be written ({error.strerror})") from None
    written = [name for name in texts if name in other or name in missing]
    for name in sorted({*written, BUILT_RECIPE} if stale or other else written, key=lambda name: name == BUILT_RECIPE):
        write_text(folder / name, texts[name])
    if not old.exists() or same_settings(old.read_text(encoding="utf-8"), texts[BUILT_RECIPE]):
        old.unlink(missing_ok=True)
        return written, ""
    return written, _keep(old)


def recipe_in(folder: Path) -> Path | None:
    """The recipe of the build in ``folder``, also of one that was killed while its lists were replaced."""
    return next((path for path in (folder / BUILT_RECIPE, folder / _OLD_RECIPE) if path.is_file()), None)


def check_folder(folder: Path) -> None:
    """Check that ``folder`` may become a dataset, before any image is read.

    Raises:
        UsageProblem: a name that is taken or not allowed, or ``folder`` is a file.
        DataProblem: a dataset that another command or a person wrote.
    """
    name = folder.name
    if name in builtin_recipes():
        raise UsageProblem(f"--out {name}: this is a built-in dataset; choose another name")
    try:
        DataSpec(name=name)
    except ValidationError:
        raise UsageProblem(
            f"--out {name!r}: a name must start with a letter or digit and have only letters, digits, blanks and . _ -"
        ) from None
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"--out {folder}: this is a file; choose another name")
    for recipe in (folder / BUILT_RECIPE, folder / _OLD_RECIPE):
        if recipe.exists() and not _is_built(recipe):
            raise DataProblem(
                f"{recipe}: not written by oltr data build (no lists_digest in its [data]), so the dataset beside it "
                "is not replaced; choose another --out"
            )


def _is_built(recipe: Path) -> bool:
    """Recipes written by ``oltr data prepare`` or by hand have no digest of the lists."""
    try:
        data = parse_toml(recipe.read_text(encoding="utf-8")).get("data")
    except OSError as error:
        raise DataProblem(f"{recipe}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataProblem(f"{recipe}: not valid TOML ({error}); fix it, or choose another --out") from None
    return isinstance(data, dict) and "lists_digest" in data


def _refuse(folder: Path, in_the_way: list[str], *, only_recipe: bool, force: bool) -> None:
    """Raise unless the files ``in_the_way`` are from an earlier build that ``force`` may replace."""
    named = ", ".join(in_the_way)
    if not ((folder / BUILT_RECIPE).exists() or (folder / _OLD_RECIPE).exists()):
        raise DataProblem(
            f"{folder}: already has {named}, not from a finished build; remove them, or choose another --out"
        )
    if force:
        return
    if only_recipe:
        raise DataProblem(
            f"{folder}: the lists are unchanged, but {BUILT_RECIPE} would be another one; keep it, or use --force to "
            f"replace it and keep the old one as {_KEPT_RECIPE.format('')}"
        )
    raise DataProblem(f"{folder}: holds another build ({named}); use --force to replace it, or choose another --out")


def _keep(old: Path) -> str:
    """Rename the old recipe to a free, visible name; returns the name.

    Raises:
        OltrError: the folder cannot be written.
    """
    names = (_KEPT_RECIPE.format("" if number == 1 else number) for number in itertools.count(1))
    name = next(name for name in names if not (old.parent / name).exists())
    try:
        old.replace(old.parent / name)
    except OSError as error:
        raise OltrError(f"{old.parent}: cannot be written ({error.strerror})") from None
    return name


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
