"""The hash of a run: everything in its recipe that can change a result, and the hash of the run it starts from."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from oltr_cli.base.files import check_regular
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.recipe.backbones import HUB, TORCHVISION, torchvision_file
from oltr_cli.recipe.home import data_home, weights_file
from oltr_cli.recipe.specs import BackboneSpec, Recipe
from oltr_cli.recipe.timm_names import PREFIX


def run_hash(recipe: Recipe, parent: str | None) -> str:
    """Ten hex digits that identify the run. Paths of files do not count; the content of a weight file does."""
    identity = recipe.as_toml()
    for key in ("root", "lists") + (() if recipe.data.kind == "glyphs" else ("glyphs",)):
        identity["data"].pop(key)
    if recipe.backbone.weights:
        identity["backbone"]["weights"] = _weights_digest(recipe.backbone)
    identity["starts_from"] = parent
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]


def _weights_digest(backbone: BackboneSpec) -> str:
    if backbone.weights == TORCHVISION:
        return torchvision_file(backbone)  # its name ends with a digest
    if backbone.weights == HUB:
        if not backbone.name.startswith(PREFIX):
            raise UsageProblem(
                f"backbone.weights: the hub has those of {PREFIX}NAME, not of {backbone.name}; give a file"
            )
        return HUB
    return _digest(weights_file(backbone.weights))


def _digest(path: Path) -> str:
    check_regular(path)
    try:
        state = path.stat()
        return _digest_of(path.absolute(), state.st_size, state.st_mtime_ns)
    except OSError as error:
        where = "" if path.is_absolute() else f", neither here nor in {data_home()}"
        raise DataProblem(f"backbone.weights: {path} cannot be read{where} ({error.strerror})") from None


@lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file, read once for all runs of a chain while its size and modification time stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
