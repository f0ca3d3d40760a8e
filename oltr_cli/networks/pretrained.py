"""torchvision's ImageNet weights, for ``backbone.weights = "torchvision"``."""

from pathlib import Path

from oltr_cli.errors import OltrError
from oltr_cli.recipe.backbones import torchvision_file
from oltr_cli.recipe.specs import BackboneSpec

_ADDRESS = "https://download.pytorch.org/models"


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
