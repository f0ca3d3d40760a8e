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
        """The recipe with the name of the dataset, if there is one, built in or made by ``oltr data build``."""
        known = name in known_recipes()
        option = f"--dataset {shlex.quote(name)}" if known else NO_RECIPE
        return cls(name, name if known else None, option + given_files())


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


def lists_of(source: str | None) -> str | None:
    """Digest of the lists that the recipe ``source`` was made for; None if it has none and any lists will do.

    Recipes of ``oltr data build`` have one: runs on an earlier build of the same name used other images.
    """
    try:
        return None if source is None else read_recipe(find_recipe(source))["data"].get("lists_digest")
    except UsageProblem:
        return None
