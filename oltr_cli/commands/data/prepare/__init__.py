"""``oltr data prepare NAME``: bring what was downloaded into the form that a built-in recipe reads.

To add a dataset: a module ``oltr_cli/data/prepare_X.py`` that returns a ``Prepared`` (oltr_cli/data/preparing.py), and
a module here whose command calls it with the options which this dataset needs, ends with ``report``, and is imported
below.
"""

from oltr_cli.commands.data.prepare import cifar, omniglot
from oltr_cli.commands.data.prepare.common import prepare_app

__all__ = ["cifar", "omniglot", "prepare_app"]
