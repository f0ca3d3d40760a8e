"""The runs that ``oltr run METHOD`` consists of, found or still to be made. Nothing is written."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.blame import keys_of
from oltr_cli.planning.described import Described, described, described_chain
from oltr_cli.planning.from_scratch import from_scratch
from oltr_cli.planning.registry import PLUS, canonical
from oltr_cli.planning.resolve import TABLES, Link, parse_set, resolve_chain
from oltr_cli.recipe.files import find_recipe, read_recipe, read_toml
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.folder import Run, runs_root

if TYPE_CHECKING:
    from oltr_cli.detector import Detector
    from oltr_cli.method import Method


@dataclass(frozen=True)
class Planned:
    """One run of a chain, to be found or made: a method that trains, or a detector on the finished run ``parent``."""

    run: Run
    link: Link
    about: Described
    parent: Run | None

    @cached_property
    def cls(self) -> "type[Method] | type[Detector]":
        """The class, which is imported when it is first asked for."""
        return self.about.load()

    @property
    def is_detector(self) -> bool:
        return self.link.recipe.detector is not None

    @property
    def continues(self) -> bool:
        """Whether it starts from an earlier run of its own method (``--from``)."""
        return self.parent is not None and self.parent.method == self.link.recipe.method

    @property
    def epochs(self) -> int:
        """Epochs to train: 0 for a detector and for a method that trains nothing."""
        return self.link.recipe.train.epochs if self.about.trains else 0


def plan(method: str, recipe: str, sets: list[str], seed: int, start: Run | None = None) -> list[Planned]:
    """The runs that ``oltr run METHOD`` consists of, starting with the first ancestor; nothing is written.

    Args:
        method: a trained method, ``method+detector``, or a detector with a row in the paper's tables.
        start: a finished run of a method of the chain, which then starts from its weights.
    Raises:
        UsageProblem: unknown method, recipe or key, or the chain cannot start from ``start``.
    """
    base, _, detector = canonical(method).partition(PLUS)
    chain = described_chain(base)
    if start is not None:
        chain = chain[_place(start, [one.name for one in chain]) :]
    chain = from_scratch(find_recipe(recipe), chain, sets)
    if start is not None and any(one.from_scratch for one in chain):
        raise UsageProblem(
            f"--from {start.name}: {chain[0].name} is to train from nothing; leave --from out, or --from-scratch "
            "(--set train.from_scratch=false)"
        )
    if start is not None:
        _check_weights(start, dict(map(parse_set, sets)).get("backbone.weights"))
    if len(chain) > 1 and chain[-1].on_features:
        _check_frozen(chain, sets)
    on_top = described(detector, detector=True) if detector else None
    above = None if start is None else f"{start.hash}-s{start.seed}"
    links = resolve_chain(find_recipe(recipe), chain, sets, on_top, above)
    if start is not None:
        _check_start(start, chain[0], links[0].recipe.backbone)
    planned: list[Planned] = []
    for about, link in zip([*chain, *([on_top] if on_top else [])], links, strict=True):
        run = Run(runs_root(), link.recipe.data.name, link.recipe.method, link.hash, seed)
        planned.append(Planned(run, link, about, planned[-1].run if planned else start))
    return planned


def _place(start: Run, chain: list[str]) -> int:
    """Where in the chain ``start`` stands."""
    if start.method not in chain:
        raise UsageProblem(
            f"--from {start.name}: it is a run of {start.method}; {chain[-1]} starts from one of "
            f"{' or '.join(reversed(chain))}"
        )
    return chain.index(start.method)


def _check_start(start: Run, method: Described, backbone: BackboneSpec) -> None:
    if method.on_features:
        raise UsageProblem(
            f"--from {start.name}: {start.method} has a head on saved features only, which is quickly trained anew; "
            f"give a run of {method.starts_from}"
        )
    if start.result() is None:
        raise UsageProblem(f"--from {start.name}: it is {start.status()}; finish it first")
    theirs = read_toml(start.path / "recipe.toml").get("backbone", {})
    ours = backbone.model_dump(mode="json", exclude_none=True)
    keys = [key for key in {**theirs, **ours} if key != "weights" and theirs.get(key) != ours.get(key)]
    if keys:
        sets = " ".join(f"--set backbone.{key}={json.dumps(theirs[key])}" for key in keys if key in theirs)
        raise UsageProblem(
            f"--from {start.name}: it has another backbone ({', '.join(keys)}){f'; try {sets}' if sets else ''}"
        )


def _check_frozen(chain: list[Described], sets: list[str]) -> None:
    """Refuse to freeze the backbone of a head on saved features, which trains none: another run is meant."""
    given = dict(map(parse_set, sets))
    key = next((key for key in ("train.freeze_backbone", "train.freeze") if given.get(key) in (True, "all")), None)
    if key is not None:
        first, head = chain[0].name, chain[-1].name
        raise UsageProblem(
            f"--set {key}: {head} trains a head on saved features, no backbone; to keep that of {first} as it is, "
            f"write --set {first}.{key}={str(given[key]).lower()}"
        )


def _check_weights(start: Run, given: object) -> None:
    """Refuse weights of ``--weights`` that would not be read; those that ``start`` began with may be repeated."""
    if given and given != read_toml(start.path / "recipe.toml").get("backbone", {}).get("weights"):
        raise UsageProblem(
            f"--from {start.name}: the weights are those of this run, and --weights (--set backbone.weights) names "
            "others; leave one of them out"
        )


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

    Only the recipe's [stage1] and [stage2] count, not settings of single methods; a schedule in steps is stretched too.
    """
    content = read_recipe(find_recipe(recipe))
    own = plan(method, recipe, [], seed=0)[-1].link.recipe.train
    second = {**content.get("train", {}), **content.get("stage2", {})}.get("epochs", own.epochs)
    epochs = own.epochs + int(second)
    sets = [f"train.epochs={epochs}"]
    if own.schedule == "multistep":
        milestones = [max(1, round(m * epochs / own.epochs)) for m in own.milestones or ()]
        sets.append(f"train.milestones={milestones}")
    if own.schedule == "step":
        sets.append(f"train.step_size={max(1, round(own.step_size * epochs / own.epochs))}")
    return sets
