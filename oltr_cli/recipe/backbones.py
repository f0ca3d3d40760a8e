"""The backbones that a recipe may name, read from the text of their files without torch."""

from collections.abc import Collection

from oltr_cli.base.plugins import Plugins
from oltr_cli.errors import UsageProblem
from oltr_cli.recipe.specs import BackboneSpec

BACKBONES = Plugins(
    "backbone",
    "oltr_cli.networks.backbones",
    "oltr.backbones",
    ("names", "source", "keys", "torchvision"),
    several=True,
)
OF_ALL = ("name", "weights", "fc")  # keys of the recipe's [backbone] that apply to every backbone
OF_SOME = tuple(key for key in BackboneSpec.model_fields if key not in OF_ALL)  # the others
TORCHVISION = "torchvision"  # as backbone.weights: its ImageNet weights, downloaded
HUB = "hub"  # as backbone.weights: those that timm downloads from the Hugging Face hub


def check_keys(spec: BackboneSpec, keys: Collection[str]) -> None:
    """Check that ``spec`` leaves all keys at their defaults that its backbone does not use.

    Args:
        keys: those of OF_SOME that it uses.
    Raises:
        UsageProblem: it sets another one.
    """
    defaults = {key: BackboneSpec.model_fields[key].default for key in OF_SOME}
    unused = {key: value for key, value in defaults.items() if key not in keys and getattr(spec, key) != value}
    if unused:
        sets = " ".join(f"--set backbone.{key}={str(value).lower()}" for key, value in unused.items())
        raise UsageProblem(f"backbone '{spec.name}' does not use {' and '.join(unused)}; restore the default: {sets}")


def torchvision_file(backbone: BackboneSpec) -> str:
    """Name of the file with torchvision's weights for this network; it ends with the beginning of its SHA-256.

    Raises:
        UsageProblem: torchvision has none for it.
    """
    files: dict[str, str] = {}
    for plugin in BACKBONES.find().values():
        files |= plugin.facts.get("torchvision", {})
    if backbone.name not in files:
        raise UsageProblem(
            f"backbone.weights: torchvision has none for {backbone.name}, only for {', '.join(files)}; give a file"
        )
    if backbone.stem != "imagenet" or backbone.width != 64:
        raise UsageProblem(
            "backbone.weights: torchvision's fit backbone.stem = imagenet and backbone.width = 64 alone, not "
            f"{backbone.stem} and {backbone.width}"
        )
    return files[backbone.name]
