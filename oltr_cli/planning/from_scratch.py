"""Methods that usually start from another one, trained from nothing: ``train.from_scratch``."""

from dataclasses import replace
from pathlib import Path

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.described import Described
from oltr_cli.planning.resolve import parse_set
from oltr_cli.recipe.files import read_recipe


def from_scratch(recipe_file: Path, chain: list[Described], sets: list[str]) -> list[Described]:
    """The part of ``chain`` to run: from the last method on that is to train from nothing (``train.from_scratch``).

    The recipe says so in ``[method.NAME.train]``, a command with ``--set train.from_scratch=true``.

    Raises:
        UsageProblem: the method cannot, or the key is in a table that applies to several methods.
    """
    content = read_recipe(recipe_file)
    for table in ("train", "stage1", "stage2"):
        if "from_scratch" in content.get(table, {}):
            raise UsageProblem(
                f"{recipe_file}: [{table}] applies to several methods; write from_scratch in [method.NAME.train]"
            )
    given = dict(map(parse_set, sets))
    for position in reversed(range(len(chain))):
        method = chain[position]
        own = content.get("method", {}).get(method.name, {}).get("train", {})
        wanted = own.get("from_scratch") if isinstance(own, dict) else None
        wanted = given.get(f"{method.name}.train.from_scratch", wanted)
        if position == len(chain) - 1:
            wanted = given.get("train.from_scratch", wanted)
        if wanted is True:
            _check_from_scratch(method)
            return [replace(method, starts_from=None, from_scratch=True), *chain[position + 1 :]]
    return chain


def _check_from_scratch(method: Described) -> None:
    if method.starts_from is None:
        raise UsageProblem(f"train.from_scratch: {method.name} starts from nothing anyway; leave it out")
    if method.on_features:
        raise UsageProblem(
            f"train.from_scratch: {method.name} trains a head on the features of {method.starts_from}, and has none of "
            "its own; leave it out"
        )
    if not method.trains_from_scratch:
        raise UsageProblem(
            f"train.from_scratch: {method.name} is made to start from {method.starts_from} (its class does not set "
            "trains_from_scratch); leave it out"
        )
