"""``oltr data prepare NAME``: bring a download into the form that a built-in recipe reads.

To add a dataset, write a module ``oltr_cli/data/prepare/X.py`` that returns a ``Prepared`` (see ``common.py`` there),
and a module here whose command calls it with the options that this dataset needs and ends with ``report``; import it
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
