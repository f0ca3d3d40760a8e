"""Weights that are downloaded: ``backbone.weights`` is "torchvision" for its ImageNet weights, "hub" for timm's."""

import logging
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from torch import Tensor

from oltr_cli.errors import OltrError, UsageProblem, first_line
from oltr_cli.networks.backbones import Backbone
from oltr_cli.networks.weights import WeightsReport, inherit_state, load_weights
from oltr_cli.recipe.backbones import HUB, TORCHVISION, torchvision_file
from oltr_cli.recipe.home import weights_file
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import PREFIX

_ADDRESS = "https://download.pytorch.org/models"


def load_named_weights(backbone: Backbone, spec: BackboneSpec, quiet: bool = False) -> WeightsReport:
    """Fill ``backbone`` with the weights that ``spec.weights`` names: a file, "torchvision" or "hub".

    Raises:
        OltrError, UsageProblem, DataProblem: as the functions that fetch and read them.
    """
    if spec.weights == HUB:
        return inherit_state(backbone, fetch_hub(spec, quiet), {"": "model."})
    if spec.weights == TORCHVISION:
        return load_weights(backbone, fetch_torchvision(spec, quiet))
    return load_weights(backbone, weights_file(spec.weights))


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


def fetch_hub(backbone: BackboneSpec, quiet: bool = False) -> dict[str, Tensor]:
    """The weights of ``timm/NAME``, without its classifier, downloaded into the hub's cache if they are not there yet.

    Raises:
        OltrError: they cannot be downloaded.
        UsageProblem: nobody has published weights for it.
    """
    import huggingface_hub
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a line for each of its attempts
    if quiet:
        huggingface_hub.utils.disable_progress_bars()
    if not _reachable(huggingface_hub.constants.ENDPOINT):
        huggingface_hub.constants.HF_HUB_OFFLINE = True  # it would try for most of a minute
    name = backbone.name.removeprefix(PREFIX)
    try:
        return dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())
    except OSError:  # what the hub says of it is long, and ends with the same advice
        config = timm.get_pretrained_cfg(name)
        place = (config and config.hf_hub_id) or backbone.name
        raise OltrError(
            f"weights of {backbone.name} are not in the hub's cache and cannot be downloaded; download "
            f"{huggingface_hub.constants.ENDPOINT}/{place}/resolve/main/model.safetensors elsewhere and give "
            "--weights model.safetensors"
        ) from None
    except RuntimeError as error:
        raise UsageProblem(f"backbone.weights: {first_line(error)}") from None


def _reachable(address: str) -> bool:
    """Whether the host of an address has a number here; True where a proxy asks for it."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(address).hostname, 443))
    except OSError:
        return False
