"""Which backbone a recipe asks for. No torch here: recipes are read and shown without it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BackboneSpec(BaseModel):
    """The ``[backbone]`` table of a recipe; ``oltr_cli.backbones.build_backbone`` makes the network of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet10"
    stem: Literal["imagenet", "small", "small-stride2"] = Field(
        "imagenet",
        description="imagenet: 7x7 stride 2 and max-pool; small: 3x3 stride 1; small-stride2: 3x3 stride 2",
    )
    width: int = Field(64, ge=4, le=512, description="channels of the first stage; 32 makes a quarter-cost network")
    weights: str = Field(
        "", description="file of weights to start from; torchvision: its ImageNet weights, downloaded; empty: random"
    )
    final_relu: bool = Field(True, description="false: the last block ends without its ReLU (FSLwF's features)")
    # None rather than 0: what is unset stays out of a recipe's hash.
    fc: int | None = Field(None, ge=1, le=8192, description="features of a linear layer and ReLU behind the pooling")
