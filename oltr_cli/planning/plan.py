"""The runs that ``oltr run METHOD`` consists of, found or still to be made. Nothing is written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.registry import PLUS, canonical, load_detector, method_chain
from oltr_cli.planning.resolve import TABLES, Link, keys_of, parse_set, resolve_chain
from oltr_cli.recipe.files import find_recipe, read_recipe
from oltr_cli.runs.folder import Run, runs_root

if TYPE_CHECKING:
    from oltr_cli.detector import Detector
    from oltr_cli.method import Method


@dataclass(frozen=True)
class Planned:
    """One run of a chain, to be found or made: a method that trains, or a detector on the finished run ``parent``."""

    run: Run
    link: Link
    cls: "type[Method] | type[Detector]"
    parent: Run | None

    @property
    def is_detector(self) -> bool:
        return self.link.recipe.detector is not None

    @property
    def epochs(self) -> int:
        """Epochs to train: 0 for a detector and for a method that trains nothing."""
        return self.link.recipe.train.epochs if getattr(self.cls, "trains", False) else 0


def plan(method: str, recipe: str, sets: list[str], seed: int) -> list[Planned]:
    """The runs that ``oltr run METHOD`` consists of, starting with the first ancestor; nothing is written.

    Args:
        method: a trained method, ``method+detector``, or a detector with a row in the paper's tables.
    Raises:
        UsageProblem: unknown method, recipe or key.
    """
    base, _, detector = canonical(method).partition(PLUS)
    chain = method_chain(base)
    on_top = (detector, load_detector(detector)) if detector else None
    links = resolve_chain(find_recipe(recipe), chain, sets, on_top)
    classes = [cls for _, cls in chain] + ([on_top[1]] if on_top else [])
    planned: list[Planned] = []
    for cls, link in zip(classes, links, strict=True):
        run = Run(runs_root(), link.recipe.data.name, link.recipe.method, link.hash, seed)
        planned.append(Planned(run, link, cls, planned[-1].run if planned else None))
    return planned


def check_words(method: str, recipe: str, sets: list[str]) -> None:
    """Find without torch, which takes seconds to import, what ``plan`` would find wrong with names and keys.

    Raises:
        UsageProblem: no such method, detector or recipe, a recipe that is no TOML, a --set that is malformed, or a
            key without its table.
    """
    canonical(method)
    read_recipe(find_recipe(recipe))
    for key, _ in map(parse_set, sets):
        full = [f"{table}.{key}" for table, model in TABLES.items() if key in keys_of(model)]
        if full:
            raise UsageProblem(f"--set {key}: unknown key; did you mean '{full[0]}'?")


def equal_budget(method: str, recipe: str) -> list[str]:
    """The ``--set`` that gives a method of stage 1 as many epochs as the recipe's two stages have together.

    Only the recipe's [stage1] and [stage2] count, not settings of single methods; a step schedule is stretched too.
    """
    content = read_recipe(find_recipe(recipe))
    own = plan(method, recipe, [], seed=0)[-1].link.recipe.train
    second = {**content.get("train", {}), **content.get("stage2", {})}.get("epochs", own.epochs)
    epochs = own.epochs + int(second)
    sets = [f"train.epochs={epochs}"]
    if own.schedule == "step":
        sets.append(f"train.step_size={max(1, round(own.step_size * epochs / own.epochs))}")
    return sets
