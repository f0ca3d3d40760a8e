"""torchvision's ImageNet weights by name, for ``backbone.weights = "torchvision"``. No torch needed to know which file.

These are the first published weights of each network (IMAGENET1K_V1, trained as in He et al. 2016), which the
literature on long tails starts from. The end of a file's name is the beginning of its SHA-256.
"""

from pathlib import Path

from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.recipe.specs import BackboneSpec

TORCHVISION = "torchvision"
_ADDRESS = "https://download.pytorch.org/models"
_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}


def torchvision_file(backbone: BackboneSpec) -> str:
    """Name of the file with torchvision's weights for this network.

    Raises:
        UsageProblem: torchvision has none for it.
    """
    if backbone.name not in _FILES:
        raise UsageProblem(
            f"backbone.weights: torchvision has none for {backbone.name}, only for {', '.join(_FILES)}; give a file"
        )
    if backbone.stem != "imagenet" or backbone.width != 64:
        raise UsageProblem(
            "backbone.weights: torchvision's fit only backbone.stem = imagenet and backbone.width = 64, not "
            f"{backbone.stem} and {backbone.width}"
        )
    return _FILES[backbone.name]


def fetch_torchvision(backbone: BackboneSpec, quiet: bool = False) -> Path:
    """The file with torchvision's weights, downloaded into torch's cache if it is not there yet.

    Raises:
        UsageProblem: torchvision has none for this network.
        OltrError: it cannot be downloaded; the message says what to download by hand.
    """
    import torch

    name = torchvision_file(backbone)
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        address = f"{_ADDRESS}/{name}"
        digest = name.removesuffix(".pth").rpartition("-")[2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), hash_prefix=digest, progress=not quiet)
        except (OSError, RuntimeError) as error:  # no network, no such host, a wrong digest, a full disk
            raise OltrError(
                f"{address} cannot be downloaded ({error}); download it elsewhere and give --weights {name}"
            ) from None
    return path
