"""What a study is, before its first trial: its space, objective and seed, and the recipes that it varies."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oltr_cli.planning.plan import Planned
from oltr_cli.planning.resolve import SHARED
from oltr_cli.recipe.files import find_recipe, read_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.space import Dimension


@dataclass(frozen=True)
class FiledRun(Run):
    """A study or one of its trials as a run, in a separate folder where no table looks for finished runs."""

    folder: str = ""  # below the dataset's

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.folder}"


@dataclass(frozen=True)
class About:
    """What a study searches: two studies that agree in all of this are the same.

    Attributes:
        method: canonical name; ``recipe`` and ``sets``: as typed, for the commands that are shown.
        chain: the resolved recipe of each run, first ancestor first, the tuned method's last.
        tables: the recipe without data and backbone, for stages and methods that the study does not try.
        hash: of the tuned method's unchanged recipe, with the runs that it starts from.
        objective: a metric on validation, and ``maximize``: whether higher is better.
        epochs: of a trial, as the recipe has it.
    """

    method: str
    dataset: str
    recipe: str
    sets: tuple[str, ...]
    seed: int
    space: tuple[Dimension, ...]
    objective: str
    maximize: bool
    prune: bool
    epochs: int
    hash: str
    chain: tuple[dict[str, Any], ...]
    tables: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, planned: list[Planned], request: Request, space: tuple[Dimension, ...], objective: str, maximize: bool
    ) -> "About":
        last = planned[-1]
        return cls(
            method=last.run.method,
            dataset=last.run.dataset,
            recipe=request.recipe,
            sets=tuple(request.sets),
            seed=last.run.seed,
            space=space,
            objective=objective,
            maximize=maximize,
            prune=request.prune and last.epochs > 1,
            epochs=last.epochs,
            hash=last.link.hash,
            chain=tuple(p.link.recipe.as_toml() for p in planned),
            tables={k: v for k, v in read_recipe(find_recipe(request.recipe)).items() if k not in SHARED},
        )

    @property
    def name(self) -> str:
        words = [d.name for d in self.space]
        words = [*words[:3], f"and-{len(words) - 3}-more"] if len(words) > 3 else words
        # Paths are not part of it, as they are not part of a recipe's hash.
        identity = {k: v for k, v in self.as_json().items() if k not in ("recipe", "sets", "chain", "tables")}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return "-".join([self.method, *words, digest[:6]])

    def as_json(self) -> dict[str, Any]:
        return json.loads(json.dumps({**vars(self), "space": [vars(d) for d in self.space]}))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "About":
        space = tuple(Dimension(**{**d, "choices": tuple(d["choices"])}) for d in value["space"])
        return cls(**{**value, "space": space, "sets": tuple(value["sets"]), "chain": tuple(value["chain"])})
