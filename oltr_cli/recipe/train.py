"""How a stage is trained: the ``[train]``, ``[stage1]`` and ``[stage2]`` tables of a recipe."""

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, StrictBool, ValidationInfo, field_validator, model_validator

from oltr_cli.recipe.glyphs import Spec

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
