"""The content of recipes: typed tables with defaults, checked when read. Reading one needs no torch."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
)
from typing_extensions import TypeVar

from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.glyphs import Spec
from oltr_cli.recipe.train import TrainSpec


def _toml_name(field: str) -> str:
    """``lambda_`` is written ``lambda`` in a recipe: Python reserves the word, the paper uses it."""
    return field.rstrip("_")


class MethodParams(BaseModel):
    """A method's own hyper-parameters: the recipe's ``[method.NAME.params]`` and ``--set params.KEY=VALUE``."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, alias_generator=_toml_name, populate_by_name=True
    )


P = TypeVar("P", bound=MethodParams, covariant=True, default=MethodParams)  # the ``Params`` that a setup holds


class BackboneSpec(Spec):
    """The ``[backbone]`` table of a recipe; ``oltr_cli.networks.backbones.build_backbone`` makes the network of it."""

    name: str = Field("resnet10", description="see: oltr ls backbones")
    stem: Literal["imagenet", "small", "small-stride2"] = Field(
        "imagenet",
        description="imagenet: 7x7 stride 2 and max-pool; small: 3x3 stride 1; small-stride2: 3x3 stride 2",
    )
    width: int = Field(64, ge=4, le=512, description="channels of the first stage; 32 makes a quarter-cost network")
    weights: str = Field(
        "",
        description="file of weights to start from; torchvision: its ImageNet weights, hub: timm's, downloaded; empty: "
        "random",
    )
    final_relu: bool = Field(True, description="false: the last block ends without its ReLU (FSLwF's features)")
    # None rather than 0: what is unset stays out of a recipe's hash.
    fc: int | None = Field(None, ge=1, le=8192, description="features of a linear layer and ReLU after the pooling")


class AddedClass(Spec):
    """The class that ``oltr add-class`` added to the run that a run starts from; no recipe file has this table."""

    name: str
    images: int = Field(ge=1)
    digests: tuple[str, ...] = Field(description="the first 16 hex digits of the SHA-256 of each image file, in order")


class Recipe(Spec):
    """What one run is, completely: nothing else may change its result but the seed and the machine."""

    method: str
    data: DataSpec
    backbone: BackboneSpec = BackboneSpec()
    train: TrainSpec = TrainSpec()
    params: SerializeAsAny[MethodParams] = MethodParams()
    detector: SerializeAsAny[MethodParams] | None = Field(
        None, description="parameters of the detector, if the run has one"
    )
    added: AddedClass | None = Field(None, description="the class that was added, if the run came of oltr add-class")

    def as_toml(self) -> dict[str, Any]:
        """Plain nested dict under the names of a recipe file, without what is unset: TOML has no word for None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
