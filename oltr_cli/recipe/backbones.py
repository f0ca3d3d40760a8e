"""The backbones that a recipe may name, read from the text of their files without torch."""

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
TORCHVISION = "torchvision"  # as backbone.weights: its ImageNet weights, downloaded


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
