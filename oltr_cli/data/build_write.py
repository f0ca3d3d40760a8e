"""Writing a built dataset so that lists of two builds never mix, whenever the program is killed.

The recipe goes first and comes last: without it the folder has no name that a command would take. Lists that something
else wrote are never replaced.
"""

from pathlib import Path

from pydantic import ValidationError

from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.files import write_text
from oltr_cli.recipe_files import BUILT_RECIPE, builtin_recipes
from oltr_cli.specs import DataSpec

_OLD_RECIPE = f".{BUILT_RECIPE}.old"  # says that the lists beside it are ours, while they are being replaced
_OPTIONAL = ("open.txt", "open_val.txt")


def write_dataset(folder: Path, texts: dict[str, str], force: bool) -> list[str]:
    """Write the files ``texts`` (name → content, with the recipe) that do not say so already; their names.

    Raises:
        DataProblem: files of another build, unless ``force``; or of something else, in any case.
        OltrError: the folder cannot be written.
    """
    recipe, old = folder / BUILT_RECIPE, folder / _OLD_RECIPE
    stale = [name for name in _OPTIONAL if name not in texts and (folder / name).exists()]
    other = [name for name, text in texts.items() if (folder / name).exists() and not _says(folder / name, text)]
    missing = [name for name in texts if not (folder / name).exists()]
    if stale or other:
        if not (recipe.exists() or old.exists()):
            raise DataProblem(
                f"{folder}: {', '.join(other + stale)} of no finished build in the way; remove them, or choose another "
                "--out"
            )
        if not force:
            raise DataProblem(
                f"{folder}: holds another build ({', '.join(other + stale)}); --force replaces it, or choose another "
                "--out"
            )
        try:
            if recipe.exists():
                recipe.replace(old)
            for name in stale:
                (folder / name).unlink()
        except OSError as error:
            raise OltrError(f"{folder}: cannot be written ({error.strerror})") from None
    written = [name for name in texts if name in other or name in missing]
    for name in sorted({*written, BUILT_RECIPE} if stale or other else written, key=lambda name: name == BUILT_RECIPE):
        write_text(folder / name, texts[name])
    old.unlink(missing_ok=True)
    return written


def check_folder(folder: Path) -> None:
    """Whether ``folder`` may become a dataset, before any image is read.

    Raises:
        UsageProblem: a name that is taken or cannot be one, or a file in the way.
    """
    name = folder.name
    if name in builtin_recipes():
        raise UsageProblem(f"--out {name}: is a built-in dataset; choose another name")
    try:
        DataSpec(name=name)
    except ValidationError:
        raise UsageProblem(
            f"--out {name!r}: a dataset's name begins with a letter or digit and holds these, blanks and . _ - alone"
        ) from None
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"--out {folder}: is a file; choose another name")


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
