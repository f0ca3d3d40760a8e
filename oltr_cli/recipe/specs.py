"""The content of recipes: typed tables with defaults, checked when read. Reading one needs no torch."""

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import TypeVar

from oltr_cli.recipe.glyphs import GlyphsSpec, Spec


def _toml_name(field: str) -> str:
    """``lambda_`` is written ``lambda`` in a recipe: Python reserves the word, the paper uses it."""
    return field.rstrip("_")


class MethodParams(BaseModel):
    """A method's own hyper-parameters: the recipe's ``[method.NAME.params]`` and ``--set params.KEY=VALUE``."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, alias_generator=_toml_name, populate_by_name=True
    )


P = TypeVar("P", bound=MethodParams, covariant=True, default=MethodParams)  # the ``Params`` that a setup holds


# Values that mean the same as leaving the key out, so that no recipe's hash has them.
_AS_UNSET: dict[str, Any] = {
    "from_scratch": False,
    "mixup": 0,
    "cutmix": 0,
    "optimizer": "sgd",
    "decay_norms": True,
    "layer_decay": 1,
    "clip_norm": 0,
    "accumulate": 1,
    "ema": 0,
    "lora": 0,
}
_BLOCKS = re.compile(r"([0-9]{1,4}) blocks?")


class DataSpec(Spec):
    """Which images, and how they are transformed."""

    name: str = Field(pattern=r"^\w[\w. -]*$", max_length=100, description="runs are stored under this name")
    kind: Literal["lists", "glyphs"] = "lists"
    root: str = Field("", description="folder the lists' paths start from; empty: $OLTR_DATA/<name>")
    lists: str = Field("", description="folder of the list files; empty: root")
    lists_digest: str | None = Field(
        None, description="digest of the lists it was made for; other lists make other runs"
    )
    glyphs: GlyphsSpec = GlyphsSpec()
    image_size: int = Field(224, ge=8, le=1024)
    # None rather than 0: what is unset stays out of a recipe's hash.
    store_side: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="larger images are shrunk to this shorter side first, and kept decoded (oltr data store)",
    )
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_padding: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="a random crop of the image padded by so many black pixels, instead of the random resized crop",
    )
    eval_resize: int = Field(256, ge=8, le=2048)
    # None rather than "bilinear": what is unset stays out of a recipe's hash.
    interpolation: Literal["bilinear", "bicubic"] | None = Field(None, description="of resized images; unset: bilinear")
    flip: bool = True
    color_jitter: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="brightness, contrast, saturation")
    rand_augment: tuple[int, int] | None = Field(
        None, description="RandAugment: operations for each image, and their magnitude, 0 to 30"
    )
    random_erasing: float | None = Field(None, ge=0, le=1, description="share of images with a box erased")
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @field_validator("random_erasing")
    @classmethod
    def _zero_is_unset(cls, value: float | None) -> float | None:
        return value or None

    @model_validator(mode="after")
    def _ranges(self) -> "DataSpec":
        if self.rand_augment is not None and not (self.rand_augment[0] >= 1 and 0 <= self.rand_augment[1] <= 30):
            raise ValueError(
                f"rand_augment must be at least 1 operation and a magnitude from 0 to 30, not {list(self.rand_augment)}"
            )
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale must be 0 < low <= high <= 1, not {list(self.crop_scale)}")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio must be 0 < low <= high, not {list(self.crop_ratio)}")
        if self.eval_resize < self.image_size:
            raise ValueError(f"eval_resize {self.eval_resize} is below image_size {self.image_size}")
        if self.store_side is not None and self.kind != "lists":
            raise ValueError("store_side is for images in files; the built-in set is kept decoded anyway")
        if self.store_side is not None and self.store_side < self.eval_resize:
            raise ValueError(
                f"store_side {self.store_side} is below eval_resize {self.eval_resize}: images would be shrunk and "
                "then enlarged"
            )
        if min(self.color_jitter) < 0 or max(self.color_jitter) > 1:
            raise ValueError("color_jitter strengths must be within 0..1")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self


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


class TrainSpec(Spec):
    """One training stage: SGD or AdamW with a learning rate for each part of the model."""

    epochs: int = Field(30, ge=1, le=1_000_000)
    batch_size: int = Field(128, ge=1, le=1_000_000)
    sampler: Literal["instance", "class_aware", "sqrt", "progressive"] = Field(
        "instance",
        description="what is drawn equally often: every image, or every class; sqrt: classes by the root of their "
        "counts; progressive: from images in the first epoch towards classes",
    )
    images_per_class: int = Field(
        4, ge=1, le=10_000, description="class_aware: images of each class drawn into a batch"
    )
    # None rather than 0: what is unset stays out of a recipe's hash.
    outlier_batch_size: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="outliers in a batch, for methods that train on some; unset: as many as images",
    )
    lr: dict[str, float] = Field({"features": 0.1, "classifier": 0.1, "centroids": 0.01}, description="by part")
    optimizer: Literal["sgd", "adamw"] | None = Field(None, description="unset: sgd")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    betas: tuple[float, float] | None = Field(None, description="of adamw; unset: 0.9 and 0.999")
    weight_decay: float = Field(5e-4, ge=0, description="added to the gradient by sgd, apart from it by adamw")
    decay_norms: StrictBool | None = Field(
        None, description="false: no weight decay for norms and biases, the parameters with one dimension"
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="factor of the learning rate of the backbone's last layer; its square for the layer before, and so "
        "on",
    )
    clip_norm: float | None = Field(None, ge=0, description="gradients are shortened to this norm, all parts together")
    accumulate: int | None = Field(None, ge=1, le=1_000_000, description="batches whose gradients make one step")
    ema: float | None = Field(
        None, ge=0, lt=1, description="decay of a moving average of the weights, which is scored in their place"
    )
    schedule: Literal["step", "multistep", "cosine", "onecycle"] = "step"
    step_size: int = Field(10, ge=1, le=1_000_000, description="step: epochs between reductions")
    gamma: float = Field(0.1, gt=0, le=1, description="step and multistep: factor of a reduction")
    # None is unset, and stays out of a recipe's hash.
    milestones: tuple[int, ...] | None = Field(
        None, min_length=1, max_length=1000, description="multistep: epochs after which the rate is reduced"
    )
    warmup_epochs: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="epochs in which the rate rises to the schedule's, by the same at each step",
    )
    mixup: float | None = Field(
        None, ge=0, le=1000, description="images are mixed pairwise (mixup) by λ ~ Beta(α, α) with this α"
    )
    cutmix: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="a box of each image shows another one (CutMix), with this α; of mixup and cutmix each batch gets "
        "one, by a coin",
    )
    freeze_backbone: bool = Field(False, description="as freeze = all: heads are trained on saved features")
    # None rather than "none", and all is freeze_backbone: recipes with either have one hash.
    freeze: str | None = Field(
        None,
        description="all; none; or N blocks, which stay as they are: the first N layers of the backbone, its stem "
        "being the first",
    )
    lora: int | None = Field(
        None,
        ge=0,
        le=4096,
        description="LoRA of this rank in the attention of a pre-trained transformer, whose own weights stay",
    )
    lora_alpha: float | None = Field(None, gt=0, description="LoRA is scaled by alpha / rank; unset: alpha = rank")
    frozen_precision: Literal["float32", "float16"] | None = Field(
        None, description="of a frozen backbone's features on disk: float16 needs half the space; unset: float32"
    )
    from_scratch: StrictBool | None = Field(
        None, description="train the method from nothing with [stage1]; false or unset: from the method it starts from"
    )

    @model_validator(mode="before")
    @classmethod
    def _all_is_freeze_backbone(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("freeze") not in ("all", "none"):
            return values
        every = values["freeze"] == "all"
        if values.get("freeze_backbone", every) is not every:
            other = str(not every).lower()
            raise ValueError(
                f"freeze = {values['freeze']} and freeze_backbone = {other} contradict each other; set one of them"
            )
        if not every:
            return values
        return {**{key: value for key, value in values.items() if key != "freeze"}, "freeze_backbone": True}

    @field_validator("freeze", mode="before")
    @classmethod
    def _blocks(cls, value: Any) -> str | None:
        if value is None or value == "none":
            return None
        words = _BLOCKS.fullmatch(value) if isinstance(value, str) else None
        if words is None:
            raise ValueError(f"freeze is all, none or a number of blocks, such as '6 blocks', not {value!r:.40}")
        return f"{int(words[1])} blocks" if int(words[1]) else None

    @property
    def frozen_blocks(self) -> int:
        """Layers of the backbone that are not trained, from the input on; those of ``freeze_backbone`` do not count."""
        return int(self.freeze.split()[0]) if self.freeze else 0

    @field_validator(*_AS_UNSET)
    @classmethod
    def _unset(cls, value: Any, info: ValidationInfo) -> Any:
        return None if value == _AS_UNSET[str(info.field_name)] else value

    @field_validator("frozen_precision")
    @classmethod
    def _float32_is_unset(cls, value: str | None) -> str | None:
        return None if value == "float32" else value

    @model_validator(mode="after")
    def _fits(self) -> "TrainSpec":
        if self.frozen_precision is not None and not self.freeze_backbone:
            raise ValueError("frozen_precision is of a frozen backbone's features; set freeze_backbone = true as well")
        if self.sampler == "class_aware" and self.batch_size % self.images_per_class:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of images_per_class {self.images_per_class}"
            )
        self._check_schedule()
        if self.freeze_backbone and (self.mixup or self.cutmix):
            raise ValueError("mixup and cutmix need images, and freeze_backbone trains on saved features")
        if self.freeze_backbone and self.layer_decay:
            raise ValueError("layer_decay is for the layers of a backbone that is trained; freeze_backbone is set")
        if self.freeze_backbone and self.freeze:
            raise ValueError(f"freeze = {self.freeze} trains the rest of the backbone; freeze_backbone is set")
        if self.lora and (self.freeze_backbone or self.freeze):
            raise ValueError("lora keeps the backbone's own weights as they are and trains what it adds; set no freeze")
        if self.lora_alpha and not self.lora:
            raise ValueError("lora_alpha is the scale of lora; set its rank as well, such as lora = 8")
        if self.betas and self.optimizer != "adamw":
            raise ValueError("betas are those of optimizer adamw; sgd has a momentum")
        if self.betas and not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {list(self.betas)}")
        bad = [f"{part}={rate}" for part, rate in self.lr.items() if rate < 0]
        if bad:
            raise ValueError(f"lr must not be negative: {', '.join(bad)}")
        return self

    def _check_schedule(self) -> None:
        """Refuse a plan of more epochs than are trained: the rest of it would be left out without a word."""
        if self.schedule == "multistep":
            if self.milestones is None:
                raise ValueError("schedule multistep needs milestones, such as [160, 180]")
            if self.milestones[0] < 1 or any(a >= b for a, b in pairwise(self.milestones)):
                raise ValueError(f"milestones must rise and be at least 1, not {list(self.milestones)}")
            if self.milestones[-1] >= self.epochs:
                raise ValueError(f"milestones {list(self.milestones)} must be below epochs {self.epochs}")
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} is above epochs {self.epochs}")


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
