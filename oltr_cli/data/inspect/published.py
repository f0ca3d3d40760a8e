"""Published counts of the datasets that have a recipe, to compare with what is on disk and to plan before it is there.

Sources: Liu et al., CVPR 2019, and its authors' lists (ImageNet-LT, Places-LT); Krizhevsky 2009 (CIFAR); the
iNaturalist 2018 challenge. tiny-imagenet-lt and omniglot-small are this project's own.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """Counts of one dataset; what is not published is left out.

    Attributes:
        classes: known classes.
        images: split → images.
        per_class: the fewest and the most training images of a class.
        shots: many-, medium- and few-shot classes by the paper's bounds.
        further: images of splits that are not published, as ``oltr data prepare`` lists them.
        letters: of the name of an image, about; None where too little is known to plan with.
    """

    classes: int
    images: dict[str, int] = field(default_factory=dict)
    per_class: tuple[int, int] | None = None
    shots: tuple[int, int, int] | None = None
    further: dict[str, int] = field(default_factory=dict)
    letters: int | None = None


PUBLISHED = {
    "imagenet-lt": Published(
        1000,
        {"train": 115_846, "val": 20_000, "test": 50_000, "open": 18_000},
        (5, 1280),
        (385, 479, 136),
        letters=40,
    ),
    "places-lt": Published(
        365,
        {"train": 62_500, "val": 7_300, "test": 36_500, "open": 6_600},
        (5, 4980),
        (131, 163, 71),
        letters=40,
    ),
    "cifar100": Published(
        100, {"train": 50_000, "val": 1_000, "test": 9_000, "open": 9_000, "open_val": 1_000}, (500, 500), letters=40
    ),
    # Imbalance factor 100, as in Cao et al., NeurIPS 2019; the open images are the user's choice.
    "cifar100-lt": Published(
        100,
        {"train": 10_847, "val": 1_000, "test": 9_000},
        (5, 500),
        (35, 35, 30),
        further={"open": 9_000, "open_val": 1_000},
        letters=40,
    ),
    "cifar10-lt": Published(10, {"train": 12_406, "val": 1_000, "test": 9_000}, (50, 5000), (8, 2, 0)),
    # Rounded by the paper; lists are not public. MegaFace as its publisher distributed it.
    "ms1m-lt": Published(
        74_500,
        {"train": 887_500},
        further={"val": 2_000, "test": 2_000, "probe": 3_530, "distractors": 1_000_000},
        letters=40,
    ),
    # Wang et al. 2017: lists are not public, and what is trained on follows from the numbers of SUN397.
    "sun-lt": Published(397, {"test": 15_880}, (1, 1132)),
    # The official validation set, three images per class, is validation (one) and test (two) here.
    "inaturalist2018": Published(8142, {"train": 437_513, "val": 8_142, "test": 16_284}, (2, 1000), letters=64),
    "tiny-imagenet-lt": Published(
        150,
        {"train": 16_394, "val": 3_000, "test": 7_500, "open": 1_750, "open_val": 750},
        (5, 450),
        (57, 71, 22),
        letters=40,
    ),
}
