"""The base of a recipe's tables, and the table of the built-in dataset."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from oltr_cli.base.text import visible


class Spec(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:  # as in no name of a file
            raise ValueError(f"{visible(value)} has a NUL character")
        return value


class GlyphsSpec(Spec):
    """What the built-in dataset draws; everything that changes a pixel is here."""

    seed: int = Field(0, ge=0, description="seed of the images and of each class's count")
    known_classes: int = Field(80, ge=2, le=80)
    open_classes: int = Field(30, ge=1, le=30)
    open_val_classes: int = Field(15, ge=1, le=15)
    image_size: int = Field(32, ge=16, le=128)
    tail_floor: int = Field(5, ge=1, description="fewest training images per class")
    tail_alpha: float = Field(6.0, gt=0, le=100, description="Pareto α; smaller is a heavier tail")
    tail_scale: float = Field(550.0, ge=0, le=1e6)
    tail_max: int = Field(250, ge=1, le=10_000, description="most training images per class")
    val_per_class: int = Field(10, ge=1, le=10_000)
    test_per_class: int = Field(25, ge=1, le=10_000)
    open_per_class: int = Field(25, ge=1, le=10_000, description="of open and open_val")
    strength: float = Field(1.0, ge=0, le=2, description="of all distortions and noise; 0 draws clean glyphs")

    @model_validator(mode="after")
    def _tail(self) -> "GlyphsSpec":
        if self.tail_max < self.tail_floor:
            raise ValueError(f"tail_max {self.tail_max} is below tail_floor {self.tail_floor}")
        return self
