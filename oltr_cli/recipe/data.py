"""The ``[data]`` table of a recipe."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from oltr_cli.recipe.glyphs import GlyphsSpec, Spec


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
