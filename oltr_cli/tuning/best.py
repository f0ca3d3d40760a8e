"""What a study writes for people: the best trial's values as a recipe file for ``oltr run``, and pictures."""

import copy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from oltr_cli.base.added_files import given_files
from oltr_cli.base.files import write_text
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.planning.registry import PLUS
from oltr_cli.recipe.files import known_recipes
from oltr_cli.tuning.about import About
from oltr_cli.tuning.study import Study


def record(study: Study, warn: Callable[[str], None]) -> list[Path]:
    """Write best.toml, history.png and a slice-KEY.png for each tuned key, anew; none before a trial has finished.

    Pictures that cannot be drawn give a warning.
    """
    if study.best() is None:
        return []
    files = [write_best(study)]
    from oltr_cli.tuning.pictures import save_pictures

    try:
        return files + save_pictures(study)
    except (OltrError, OSError, ValueError) as error:
        warn(f"pictures of {study.name} were not drawn: {error}")
        return files


def write_best(study: Study) -> Path:
    """Write best.toml into the study's folder.

    Raises:
        DataProblem: no trial has finished yet.
    """
    best = study.best()
    if best is None:
        raise DataProblem(f"{study.name}: no trial has finished yet; repeat the oltr tune command to continue it")
    about, path = study.about, study.path / "best.toml"
    remark = (
        f"# Trial {best.number} of {study.name}: {about.objective} = {best.values[0]:.6g} on validation, seed "
        f"{about.seed}.\n# {run_command(about, path)}\n\n"
    )
    write_text(path, remark + tomli_w.dumps(best_recipe(about, best.params)))
    return path


def best_recipe(about: About, values: dict[str, Any]) -> dict[str, Any]:
    """The tables of a recipe file in which every key of every run is given, with ``values`` for the tuned ones.

    Methods outside of the study keep their settings from the searched recipe.
    """
    base, _, detector = about.method.partition(PLUS)
    last = about.chain[-1]
    content = copy.deepcopy({"data": last["data"], "backbone": last["backbone"], **about.tables})
    methods = content.setdefault("method", {})
    for recipe in copy.deepcopy(about.chain):
        name = recipe["method"].partition(PLUS)[0]
        methods[name] = {section: recipe[section] for section in ("train", "params")}
    if detector:
        content.setdefault("detector", {})[detector] = copy.deepcopy(last["detector"])
    for key, value in values.items():
        head, *middle, name = key.split(".")
        table = _place(content, head, base, detector)
        for word in middle:
            table = table[word]
        table[name] = value
    return content


def run_command(about: About, recipe: Path) -> str:
    """The command that makes a run of best.toml."""
    base, _, detector = about.method.partition(PLUS)
    with_detector = f" --detector {detector}" if detector else ""
    seed = f" --seed {about.seed}" if about.seed else ""
    return f"oltr run {base}{with_detector} --recipe {shlex.quote(str(recipe))}{seed}{given_files()}"


def search_command(about: About) -> str:
    """The command that continues the study."""
    base, _, detector = about.method.partition(PLUS)
    known = about.recipe in known_recipes()
    words = ["oltr", "tune", "--method", base, *(["--detector", detector] if detector else [])]
    words += ["--dataset" if known else "--recipe", about.recipe]
    words += [word for d in about.space for word in ("--range", f"{d.key}={d.text}")]
    words += [word for text in about.sets for word in ("--set", text)]
    words += ["--objective", about.objective, *([] if about.prune or about.epochs < 2 else ["--no-prune"])]
    return shlex.join(words + (["--seed", str(about.seed)] if about.seed else [])) + given_files()


def _place(content: dict[str, Any], head: str, method: str, detector: str) -> dict[str, Any]:
    if head == "detector":
        return content["detector"][detector]
    return content[head] if head in ("data", "backbone") else content["method"][method][head]
