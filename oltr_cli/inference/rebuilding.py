"""The typed recipe and the trained network of a finished run, from the files in its folder."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from oltr_cli.detector import Detector
from oltr_cli.errors import DataProblem, first_line
from oltr_cli.method import Method
from oltr_cli.recipe.files import read_toml
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.folder import Run
from oltr_cli.training.task import load_best


def recipe_of(
    path: Path, method: type[Method], detector: type[Detector] | None, chosen: dict[str, Any] | None
) -> Recipe:
    """The resolved recipe in a run's folder, with parameters of the types that the method declares."""
    return typed_recipe(read_toml(path), path, method, detector, chosen)


def typed_recipe(
    content: dict[str, Any],
    path: Path,
    method: type[Method],
    detector: type[Detector] | None,
    chosen: dict[str, Any] | None,
) -> Recipe:
    """The recipe ``content`` of the file ``path``, with parameters of the types that method and detector declare.

    Args:
        detector: None for the method's own confidence; the recipe's table of a detector is left out then.
        chosen: the detector's parameters; None takes those of the recipe.
    Raises:
        DataProblem: a value does not fit.
    """
    try:
        typed = {**content, "params": method.Params.model_validate(content.get("params", {}))}
        typed.pop("detector", None)
        if detector is not None:
            typed["detector"] = detector.Params.model_validate(chosen or content.get("detector", {}))
        return Recipe.model_validate(typed)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataProblem(f"{path}: {key}: {first['msg']}; was the run made by another version?") from None


def network_of(run: Run, cls: type[Method], recipe: Recipe, class_counts: list[int]) -> Method:
    """The trained network of ``run`` with the weights of its best epoch; DataProblem if they do not fit."""
    try:
        return load_best(run, cls, recipe, class_counts)
    except (RuntimeError, KeyError, TypeError) as error:
        raise DataProblem(
            f"{run.path / 'best.pt'}: does not hold the network of {run.method} ({first_line(error)}); "
            "was the run made by another version?"
        ) from None
