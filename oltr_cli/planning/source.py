"""The dataset and recipe whose runs a table, figure or report shows, and how a command names them."""

import shlex
from dataclasses import dataclass

from oltr_cli.base.added_files import given_files
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.recipe.files import find_recipe, known_recipes, read_recipe
from oltr_cli.runs.folder import find_runs

NO_RECIPE = "--recipe FILE"


@dataclass(frozen=True)
class Source:
    """A dataset with the recipe that its runs follow.

    Attributes:
        dataset: the name under which the runs are saved.
        recipe: name or file; None: there is none, and nothing can be trained.
        option: names the recipe on a command line, with the files that were added to the current one.
    """

    dataset: str
    recipe: str | None
    option: str

    @classmethod
    def of_dataset(cls, name: str) -> "Source":
        """The recipe of that name, if there is one, built in or made by ``oltr data build``.

        The dataset is what the recipe says; several may be for one dataset, as cifar100-lt-resnet32 for cifar100-lt.
        """
        if name not in known_recipes():
            return cls(name, None, NO_RECIPE + given_files())
        return cls(_dataset_of(name), name, f"--dataset {shlex.quote(name)}{given_files()}")


def find_source(dataset: str | None, recipe: str | None, default: str) -> Source:
    """What ``--dataset`` or ``--recipe`` names.

    Raises:
        UsageProblem: both are given, there is no such recipe, or a dataset with neither a recipe nor a run.
    """
    if dataset and recipe:
        raise UsageProblem("--dataset and --recipe both name a recipe; give one of them")
    if recipe:
        dataset = str(read_recipe(find_recipe(recipe))["data"]["name"])
        return Source(dataset, recipe, f"--recipe {shlex.quote(recipe)}{given_files()}")
    source = Source.of_dataset(dataset or default)
    if source.recipe is None:
        measured = {run.dataset for run in find_runs()}
        if source.dataset not in {*measured, default}:
            raise UsageProblem(f"no dataset '{dataset}'{nearest(source.dataset, {*measured, *known_recipes()})}")
    return source


def _dataset_of(recipe: str) -> str:
    """The dataset of a known recipe; its own name if it cannot be read, which is said when it is used."""
    try:
        return str(read_recipe(find_recipe(recipe))["data"]["name"])
    except UsageProblem:
        return recipe


def lists_of(source: str | None) -> str | None:
    """Digest of the lists that the recipe ``source`` was made for; None if it has none and any lists will do.

    Recipes of ``oltr data build`` have one: runs on an earlier build of the same name used other images.
    """
    try:
        return None if source is None else read_recipe(find_recipe(source))["data"].get("lists_digest")
    except UsageProblem:
        return None
