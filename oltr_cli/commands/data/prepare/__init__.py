"""``oltr data prepare NAME``: bring what was downloaded into the form that a built-in recipe reads.

To add a dataset: a module ``oltr_cli/data/prepare/X.py`` that returns a ``Prepared`` (``common.py`` beside it), and a
module here whose command calls it with the options that this dataset needs, ends with ``report``, and is imported
below.
"""

from oltr_cli.commands.data.prepare import (
    cifar,
    cifar_lt,
    imagenet,
    inaturalist,
    ms1m,
    omniglot,
    places,
    sun,
    tiny_imagenet,
)
from oltr_cli.commands.data.prepare.common import prepare_app

__all__ = [
    "cifar",
    "cifar_lt",
    "imagenet",
    "inaturalist",
    "ms1m",
    "omniglot",
    "places",
    "prepare_app",
    "sun",
    "tiny_imagenet",
]
