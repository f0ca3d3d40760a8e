"""How large a method's network is, without its weights: built on torch's meta device, where tensors have no values."""

import torch
from torch import Tensor

from oltr_cli.method import FeatureMethod, Method
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.sizes import NetworkSize
from oltr_cli.training.freezing import freeze
from oltr_cli.training.optimizers import build_optimizer
from oltr_cli.training.task import build_method


def network_size(p: Planned, classes: int) -> NetworkSize:
    """The sizes of the network that ``p`` trains, for K = ``classes``.

    Raises:
        UsageProblem: the recipe does not fit the network, as training would say.
    """
    recipe = p.link.recipe
    try:
        with torch.device("meta"):
            method, best = _built(p, classes)
    except (NotImplementedError, RuntimeError):  # it asks for values while it is built
        method, best = _built(p, classes)
    trained: list[Tensor] = []
    if p.about.trains:
        groups = build_optimizer(method, recipe.train).param_groups
        trained = [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
    backbone = method.backbone
    height, width = backbone.map_size(recipe.data.image_size)
    on_features = isinstance(method, FeatureMethod)
    return NetworkSize(
        best=best,
        last=_size(list(method.state_dict().values())),
        trained=_size(trained),
        features=backbone.feature_dim,
        kept=backbone.map_channels * height * width if method.needs_map else backbone.pooled_channels,
        maps=method.needs_map,
        looks_first=not on_features and type(method).prepare is not Method.prepare,
        looks_again=not on_features and type(method).end_epoch is not Method.end_epoch,
    )


def _built(p: Planned, classes: int) -> tuple[Method, tuple[int, int]]:
    """The network as it is trained, and the size of its state before some of it is frozen."""
    assert issubclass(p.cls, Method)
    method = build_method(p.cls, p.link.recipe, [1] * classes, p.run.seed)
    best = _size(list(method.state_dict().values()))
    freeze(method, p.link.recipe, p.run.seed)
    return method, best


def _size(tensors: list[Tensor]) -> tuple[int, int]:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors), len(tensors)
