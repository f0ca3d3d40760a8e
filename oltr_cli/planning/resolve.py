"""Recipes: typed, merged in a fixed order, with a record of where each value came from.

Merge order: defaults < the configuration of a model of timm < recipe file < its ``[stage1]`` or ``[stage2]`` < the
method's own defaults (``Method.train_defaults``) < its ``[method.NAME]`` < ``--set key=value``. ``[stage1]`` applies to
methods that start from nothing, ``[stage2]`` to those that start from another run. A detector has ``[detector.NAME]``
and ``detector.key``.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from oltr_cli.base.files import toml_or_text
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.planning.blame import Problem, blamed, explained, keys_of
from oltr_cli.planning.described import Described, check_backbone
from oltr_cli.planning.run_hash import run_hash
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import read_recipe
from oltr_cli.recipe.specs import BackboneSpec, Recipe
from oltr_cli.recipe.timm_names import PREFIX
from oltr_cli.recipe.train import TrainSpec

SECTIONS = ("data", "backbone", "train", "params")
TABLES: dict[str, type[BaseModel]] = {"data": DataSpec, "backbone": BackboneSpec, "train": TrainSpec}
_KEY = re.compile(r"[\w+-]+(\.[\w+-]+)*")
_FREEZING = frozenset({"freeze", "freeze_backbone"})  # of [train]: two keys for one thing
SHARED = ("data", "backbone")  # must agree along a chain of runs


@dataclass(frozen=True)
class Link:
    """One run of a chain: its recipe, its hash and where each value came from (dotted key → origin)."""

    recipe: Recipe
    hash: str
    origin: dict[str, str] = field(default_factory=dict)


def parse_set(assignment: str) -> tuple[str, Any]:
    """``key.sub=value`` → key and value; the value is TOML if it parses as such, otherwise a string.

    Raises:
        UsageProblem: no key, words that are no key, no value, or a value that begins like TOML and is not valid TOML.
    """
    key, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals or not _KEY.fullmatch(key):
        raise UsageProblem(f"--set {assignment}: write it as KEY=VALUE, for example --set train.epochs=3")
    if not text:
        raise UsageProblem(f"--set {assignment}: the value is missing; an empty text is --set '{key}=\"\"'")
    try:
        return key, toml_or_text(text)
    except ValueError:
        quoted = shlex.quote(f"{key}={json.dumps(text, ensure_ascii=False)}")
        raise UsageProblem(
            f"--set {assignment}: the value is not valid TOML; if it is a text, write --set {quoted}"
        ) from None


def resolve_chain(
    recipe_file: Path,
    chain: list[Described],
    sets: list[str],
    detector: Described | None = None,
    above: str | None = None,
) -> list[Link]:
    """Resolve every run of ``chain`` (first ancestor first, requested method last), and that of the detector, if any.

    ``--set`` applies to the last method; ``data.*`` and ``backbone.*`` to all; ``NAME.key`` to the ancestor NAME;
    ``detector.key`` to the detector.

    Args:
        above: hash of the run that the first one starts from, if it is not part of the chain.
    Raises:
        UsageProblem: unknown keys, invalid values, or a ``--set`` for a method that is not in the chain; all problems
            of the first recipe that has any, at once.
    """
    content = read_recipe(recipe_file)
    names = [method.name for method in chain]
    parsed = [parse_set(s) for s in sets]
    for key, _ in parsed:
        head, _, rest = key.partition(".")
        if head == "detector" and rest and detector is not None:
            continue
        if head == "detector":
            raise UsageProblem(f"--set {key}: no detector is given; add --detector NAME")
        if head not in (*SECTIONS, *names) or (head in names and rest.split(".")[0] in ("", *SHARED)):
            hint = nearest(key, [f"{s}.{k}" for s, model in _models(chain[-1]).items() for k in keys_of(model)])
            raise UsageProblem(f"--set {key}: unknown key{hint}")
    given = _from_backbone(content, parsed)
    links: list[Link] = []
    for position, method in enumerate(chain):
        layers = [*given, *_layers(content, recipe_file.name, method)]
        for key, value in parsed:
            head, _, rest = key.partition(".")
            if head == method.name:
                layers.append((f"--set {key}", _nested(rest, value)))
            elif head in SHARED or (head in SECTIONS and position == len(chain) - 1):
                layers.append((f"--set {key}", _nested(key, value)))
        links.append(_resolve(method, layers, links[-1].hash if links else above, str(recipe_file)))
    if detector is not None:
        given = [(f"--set {key}", _nested(key, value)) for key, value in parsed if key.startswith("detector.")]
        file = (f"{recipe_file.name} [detector.{detector.name}]", content.get("detector", {}).get(detector.name, {}))
        links.append(_pair(detector, [(file[0], {"detector": file[1]}), *given], links[-1], str(recipe_file)))
    return links


def _from_backbone(content: dict[str, Any], parsed: list[tuple[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """What a model of timm says of its images, as a layer below the recipe file; none for other backbones."""
    data, backbone = (dict(table) if isinstance(table := content.get(key), dict) else {} for key in SHARED)
    for key, value in parsed:
        head, _, rest = key.partition(".")
        if head in SHARED:
            (data if head == "data" else backbone)[rest] = value
    name, size = backbone.get("name"), data.get("image_size")
    if not isinstance(name, str) or not name.startswith(PREFIX):
        return []
    from oltr_cli.networks.timm_data import data_of

    return [(name, {"data": data_of(name, size if isinstance(size, int) else None)})]


def _layers(content: dict[str, Any], file: str, method: Described) -> list[tuple[str, dict[str, Any]]]:
    """The recipe file's layers for one method, weakest first."""
    name, stage = method.name, "stage2" if method.starts_from else "stage1"
    return [
        (file, {s: content[s] for s in ("data", "backbone", "train") if s in content}),
        (f"{file} [{stage}]", {"train": content.get(stage, {})}),
        (f"{name}'s own default", {"train": method.train_defaults}),
        (f"{file} [method.{name}]", content.get("method", {}).get(name, {})),
    ]


def _pair(detector: Described, layers: list[tuple[str, dict]], under: Link, file: str) -> Link:
    """The link of a detector on the run ``under``, whose recipe it shares."""
    values, origin = _validated({"detector": detector.Params}, layers, file)
    recipe = under.recipe.model_copy(update={"method": f"{under.recipe.method}+{detector.name}", **values})
    return Link(recipe, run_hash(recipe, under.hash), {**under.origin, **origin})


def _resolve(method: Described, layers: list[tuple[str, dict]], parent: str | None, file: str) -> Link:
    values, origin = _validated(_models(method), layers, file)
    recipe = Recipe(method=method.name, **values)
    _check_mixing(method, recipe.train, origin, file)
    _check_lora(method, recipe.train, origin, file)
    return Link(recipe, run_hash(recipe, parent), origin)


def _check_mixing(method: Described, train: TrainSpec, origin: dict[str, str], file: str) -> None:
    """Refuse mixed images where they are not trained on, or where the loss of a mixed image says nothing."""
    key = next((f"train.{key}" for key in ("mixup", "cutmix") if getattr(train, key) is not None), None)
    if key is None or method.mixes:
        return
    why = "it sees features, not images" if method.on_features else "its class does not set mixes"
    text = f"{method.name} cannot train on mixed images ({why}); set it for plain only, as plain.{key} or in [stage1]"
    raise UsageProblem(blamed([Problem(key, f"{key}: {text}")], origin, file))


def _check_lora(method: Described, train: TrainSpec, origin: dict[str, str], file: str) -> None:
    """Refuse LoRA where no backbone is trained."""
    if train.lora is None or (method.trains and not method.on_features):
        return
    why = "it sees saved features" if method.on_features else "it takes no step"
    text = (
        f"train.lora: {method.name} does not train the backbone ({why}); set it for plain only, as plain.train.lora or "
        "in [stage1]"
    )
    raise UsageProblem(blamed([Problem("train.lora", text)], origin, file))


def _validated(
    models: dict[str, type[BaseModel]], layers: list[tuple[str, dict]], file: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The sections that ``models`` names, merged and checked, and where each value came from."""
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, layer in layers:
        _forget_freeze(merged, layer, origin)
        _merge(merged, layer, origin, source)
    problems = [Problem(k, f"unknown key '{k}'", nearest(k, models)) for k in merged if k not in models]
    values: dict[str, Any] = {}
    for section, model in models.items():
        given = merged.get(section, {})
        if not isinstance(given, dict):
            problems.append(Problem(section, f"{section} must be a table"))
            continue
        if section == "train" and isinstance(given.get("lr"), dict):
            given = {**given, "lr": {**TrainSpec().lr, **given["lr"]}}
        try:
            values[section] = model.model_validate(given)
        except ValidationError as error:
            problems += [explained(section, model, e) for e in error.errors()]
    if "backbone" in values:
        problems += _backbone_problems(values["backbone"])
    if problems:
        raise UsageProblem(blamed(problems, origin, file))
    return values, origin


def _backbone_problems(spec: BackboneSpec) -> list[Problem]:
    """What is wrong with the backbone, if anything: its name, its file, or keys that it does not use."""
    try:
        check_backbone(spec)
    except UsageProblem as problem:
        return [Problem("backbone" if "does not use" in str(problem) else "backbone.name", str(problem))]
    return []


def _models(method: Described) -> dict[str, type[BaseModel]]:
    return {**TABLES, "params": method.Params}


def _forget_freeze(merged: dict, layer: dict, origin: dict[str, str]) -> None:
    """Forget both keys that freeze the backbone where a later layer sets one: together they would contradict it."""
    before, now = merged.get("train"), layer.get("train")
    if isinstance(before, dict) and isinstance(now, dict) and not _FREEZING.isdisjoint(now):
        for key in _FREEZING:
            before.pop(key, None)
            origin.pop(f"train.{key}", None)


def _merge(into: dict, layer: dict, origin: dict[str, str], source: str, prefix: str = "") -> None:
    """Merge ``layer`` into ``into`` in place, table by table, and record the source of every value."""
    for key, value in layer.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict):
            if not isinstance(into.setdefault(key, {}), dict):
                raise UsageProblem(f"{dotted} is a table ({source}), and {into[key]!r:.80} ({origin[dotted]}) is none")
            origin[dotted] = source
            _merge(into[key], value, origin, source, f"{dotted}.")
        else:
            into[key] = value
            origin[dotted] = source


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
