"""Sizes of public datasets, as published and as ``oltr data prepare`` lists them: to plan before they are here."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PublishedSize:
    """Classes, and images of each split; ``letters``: of a name such as ``train/n01440764/n01440764_10026.JPEG``."""

    classes: int
    images: dict[str, int] = field(default_factory=dict)
    letters: int = 40


# docs/datasets.md has the same numbers. MS1M-LT as the paper samples it, MegaFace as its publisher distributed it.
PUBLISHED = {
    "cifar100": PublishedSize(100, {"train": 50_000, "val": 1_000, "test": 9_000, "open": 9_000, "open_val": 1_000}),
    "cifar100-lt": PublishedSize(100, {"train": 10_847, "val": 1_000, "test": 9_000, "open": 9_000, "open_val": 1_000}),
    "imagenet-lt": PublishedSize(1_000, {"train": 115_846, "val": 20_000, "test": 50_000, "open": 18_000}),
    "inaturalist2018": PublishedSize(8_142, {"train": 437_513, "val": 8_142, "test": 16_284}, letters=64),
    "ms1m-lt": PublishedSize(
        74_500, {"train": 887_500, "val": 2_000, "test": 2_000, "probe": 3_530, "distractors": 1_000_000}
    ),
    "places-lt": PublishedSize(365, {"train": 62_500, "val": 7_300, "test": 36_500, "open": 6_600}),
    "tiny-imagenet-lt": PublishedSize(
        150, {"train": 16_394, "val": 3_000, "test": 7_500, "open": 1_750, "open_val": 750}
    ),
}
