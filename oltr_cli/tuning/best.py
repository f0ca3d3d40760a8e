"""The best trial's values as a recipe file, which gives ``oltr run`` those and no others."""

import copy
from pathlib import Path
from typing import Any

import tomli_w

from oltr_cli.errors import DataProblem
from oltr_cli.files import write_text
from oltr_cli.registry import PLUS
from oltr_cli.tuning.about import About
from oltr_cli.tuning.study import Study


def write_best(study: Study) -> Path:
    """Write best.toml into the study's folder.

    Raises:
        DataProblem: no trial has finished yet.
    """
    best = study.best()
    if best is None:
        raise DataProblem(f"{study.name}: no trial has finished yet; the same oltr tune goes on with it")
    about, path = study.about, study.path / "best.toml"
    remark = (
        f"# Trial {best.number} of {study.name}: {about.objective} = {best.values[0]:.6g} on validation, seed "
        f"{about.seed}.\n# {run_command(about, path)}\n\n"
    )
    write_text(path, remark + tomli_w.dumps(best_recipe(about, best.params)))
    return path


def best_recipe(about: About, values: dict[str, Any]) -> dict[str, Any]:
    """The tables of a recipe file in which every key of every run is given, with ``values`` for the tuned ones."""
    base, _, detector = about.method.partition(PLUS)
    last = about.chain[-1]
    content: dict[str, Any] = {"data": last["data"], "backbone": last["backbone"], "method": {}}
    for recipe in about.chain:
        name = recipe["method"].partition(PLUS)[0]
        content["method"][name] = {section: recipe[section] for section in ("train", "params")}
    if detector:
        content["detector"] = {detector: last["detector"]}
    content = copy.deepcopy(content)
    for key, value in values.items():
        head, *middle, name = key.split(".")
        table = _place(content, head, base, detector)
        for word in middle:
            table = table[word]
        table[name] = value
    return content


def run_command(about: About, recipe: Path) -> str:
    """What makes a run of best.toml."""
    base, _, detector = about.method.partition(PLUS)
    with_detector = f" --detector {detector}" if detector else ""
    return f"oltr run {base}{with_detector} --recipe {recipe}" + (f" --seed {about.seed}" if about.seed else "")


def _place(content: dict[str, Any], head: str, method: str, detector: str) -> dict[str, Any]:
    if head == "detector":
        return content["detector"][detector]
    return content[head] if head in ("data", "backbone") else content["method"][method][head]
