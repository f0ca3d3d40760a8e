"""Any image model of timm: ``backbone.name = "timm/NAME"``.

Source: Wightman, PyTorch Image Models (timm). The feature is what the model gives its own classifier. The map is that
of a convolutional network, or the tokens of a transformer laid out as a grid, without its class, distillation and
register tokens. A method that looks at the map (dme) gets the mean of the grid in place of the class token.
"""

import math
import sys
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from oltr_cli.errors import UsageProblem, first_line, nearest
from oltr_cli.networks.backbones import Backbone
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import PREFIX, check_timm_name

Layout = Literal["cells", "cells last", "tokens"]


@dataclass(frozen=True)
class _Form:
    """What a model makes of square images of one size.

    Attributes:
        layout: of its features: (B, C, h, w), (B, h, w, C), or (B, N, C) with ``prefix`` tokens before the grid; None
            if they are no single map.
        map_shape: (C, h, w).
        pooled: length of the feature.
    """

    layout: Layout | None
    prefix: int
    map_shape: tuple[int, int, int]
    pooled: int


class TimmModel(Backbone):
    """One of timm's models without its classifier."""

    names = ("timm/NAME",)
    source = "Wightman, PyTorch Image Models"

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__(spec)
        self.contiguous = False
        self.name = spec.name
        self.model = _create(spec.name)
        self._form = _form(spec.name, int(self.model.pretrained_cfg["input_size"][-1]))
        self.map_channels = self._form.map_shape[0]
        heads = self.model.pretrained_cfg.get("classifier") or ()
        self.heads = (heads,) if isinstance(heads, str) else tuple(heads)

    @property
    def pooled_channels(self) -> int:
        return self._form.pooled

    def check_image_size(self, image_size: int) -> None:
        _form(self.name, image_size)

    def map_size(self, image_size: int) -> tuple[int, int]:
        if self._form.layout is None:
            raise self._no_map()
        return _form(self.name, image_size).map_shape[1:]

    def compute_map(self, images: Tensor) -> Tensor:
        x = self.model.forward_features(images)
        if self._form.layout == "cells":
            return x
        if self._form.layout == "cells last":
            return x.permute(0, 3, 1, 2)
        if self._form.layout == "tokens":
            grid = x[:, self._form.prefix :].transpose(1, 2)
            side = math.isqrt(grid.shape[2])
            return grid.unflatten(2, (side, side))
        raise self._no_map()

    def reduce(self, feature_map: Tensor) -> Tensor:
        x = feature_map
        if self._form.layout == "cells last":
            x = x.permute(0, 2, 3, 1)
        if self._form.layout == "tokens":
            x = x.flatten(2).transpose(1, 2)
            # Whatever tokens its classifier looks at, it sees the mean of the grid.
            x = torch.cat([x.mean(1, keepdim=True).expand(-1, self._form.prefix, -1), x], dim=1)
        return self.model.forward_head(x, pre_logits=True)

    def compute_pooled(self, images: Tensor) -> Tensor:
        return self.model.forward_head(self.model.forward_features(images), pre_logits=True)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The stem and the blocks, as timm counts them, without what it counts with the classifier."""
        from timm.models import group_parameters

        if not hasattr(self.model, "group_matcher"):
            raise UsageProblem(
                f"timm does not say which layers {self.name} has, and train.layer_decay and train.freeze = N blocks "
                "need to know; leave them out"
            )
        # Whatever no pattern fits is in the last group, in which the classifier would be.
        named = [*self.model.named_parameters(), ("", None)]
        model: Any = SimpleNamespace(named_parameters=lambda: named)
        groups = group_parameters(model, self.model.group_matcher(coarse=False), return_values=True)
        return [groups[number] for number in sorted(groups)[:-1]]

    def undecayed(self) -> list[nn.Parameter]:
        """Such as the class token and the table of positions."""
        patterns = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()
        return [p for name, p in self.model.named_parameters() if any(fnmatch(name, one) for one in patterns)]

    def weight_entries(self) -> dict[str, Tensor]:
        return {name.removeprefix("model."): value for name, value in self.state_dict().items()}

    def from_other_names(self, entries: dict[str, Tensor]) -> dict[str, Tensor]:
        """By timm's own conversion of the original project's names, where the file of the model has one."""
        convert = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        return entries if convert is None else convert(dict(entries), self.model)

    def _no_map(self) -> UsageProblem:
        return UsageProblem(
            f"backbone '{self.name}' has several maps instead of one; use it with a method that needs none, as plain"
        )


def _create(name: str) -> Any:
    """The model with random weights and without its classifier; one with a table of positions takes any image size.

    Raises:
        UsageProblem: timm is not installed or has no such model.
    """
    check_timm_name(name)
    import timm

    model = name.removeprefix(PREFIX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old names of models
        variants: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {})
        for options in variants:
            try:
                return timm.create_model(model, num_classes=0, **options)
            except TypeError:  # the model has no such option
                continue
            except (RuntimeError, ValueError) as error:
                tags = timm.list_pretrained(f"{model.partition('.')[0]}.*")
                raise UsageProblem(f"backbone '{name}': {first_line(error)}{nearest(model, tags)}") from None
    raise UsageProblem(f"backbone '{name}': timm cannot build it without a classifier")


@lru_cache(maxsize=4)
def _without_values(name: str) -> nn.Module:
    """The model with tensors that have shapes and no memory."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return _create(name).eval()


@lru_cache(maxsize=32)
@torch.no_grad()
def _form(name: str, image_size: int) -> _Form:
    """What the model makes of square images, tried without computing a value.

    Raises:
        UsageProblem: it does not take images of this size.
    """
    model: Any = _without_values(name)
    try:
        x = model.forward_features(torch.empty(2, 3, image_size, image_size, device="meta"))
        pooled = model.forward_head(x, pre_logits=True).shape[-1]
    except (AssertionError, RuntimeError, ValueError) as error:
        size = model.pretrained_cfg["input_size"][-1]
        raise UsageProblem(
            f"backbone '{name}' does not take images of {image_size} pixels ({first_line(error)}); its own size: "
            f"--set data.image_size={size}"
        ) from None
    if not isinstance(x, Tensor) or x.ndim not in (3, 4):
        return _Form(None, 0, (pooled, 1, 1), pooled)
    if x.ndim == 3:
        side = math.isqrt(x.shape[1])
        prefix = int(getattr(model, "num_prefix_tokens", x.shape[1] - side * side))
        side = math.isqrt(x.shape[1] - prefix)
        return _Form("tokens", prefix, (x.shape[2], side, side), pooled)
    if str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):
        return _Form("cells last", 0, (x.shape[3], x.shape[1], x.shape[2]), pooled)
    return _Form("cells", 0, (x.shape[1], x.shape[2], x.shape[3]), pooled)
