"""``oltr data prepare NAME``: bring a download into the form that a built-in recipe reads.

To add a dataset: a module ``oltr_cli/data/prepare/X.py`` that returns a ``Prepared`` (``common.py`` beside it), and a
command in ``lists.py``: an entry if a folder is all that it needs, else a function that ends with ``report``.
"""

from oltr_cli.commands.data.prepare import cifar, lists
from oltr_cli.commands.data.prepare.common import prepare_app

__all__ = ["cifar", "lists", "prepare_app"]

prepare_app.registered_commands.sort(key=lambda command: str(command.name))
