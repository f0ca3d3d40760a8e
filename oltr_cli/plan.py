"""What ``oltr run METHOD`` consists of: the runs of its chain, found or still to be made. Nothing is written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oltr_cli.recipe import Link, resolve_chain
from oltr_cli.recipe_files import find_recipe
from oltr_cli.registry import method_chain
from oltr_cli.runs import Run, runs_root

if TYPE_CHECKING:
    from oltr_cli.method import Method


@dataclass(frozen=True)
class Planned:
    """One run of a chain, to be found or made."""

    run: Run
    link: Link
    cls: "type[Method]"
    parent: Run | None


def plan(method: str, recipe: str, sets: list[str], seed: int) -> list[Planned]:
    """The runs that ``oltr run METHOD`` consists of, first ancestor first; nothing is written.

    Raises:
        UsageProblem: unknown method, recipe or key.
    """
    chain = method_chain(method)
    links = resolve_chain(find_recipe(recipe), chain, sets)
    planned: list[Planned] = []
    for (name, cls), link in zip(chain, links, strict=True):
        run = Run(runs_root(), link.recipe.data.name, name, link.hash, seed)
        planned.append(Planned(run, link, cls, planned[-1].run if planned else None))
    return planned


def finished(run: Run) -> dict[str, Any] | None:
    """The result of a run that is done, else None."""
    result = run.result()
    return result if result is not None and result.get("status") == "done" else None
