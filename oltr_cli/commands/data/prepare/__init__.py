"""``oltr data prepare NAME``: bring what was downloaded into the form that a built-in recipe reads.

To add a dataset: a module ``oltr_cli/data/prepare/X.py`` that returns a ``Prepared`` (``common.py`` beside it), and a
command here: an entry of ``folders.py`` if a folder is all that it needs, else a module whose command ends with
``report`` and is imported below.
"""

from oltr_cli.commands.data.prepare import cifar, folders, inaturalist, ms1m
from oltr_cli.commands.data.prepare.common import prepare_app

__all__ = ["cifar", "folders", "inaturalist", "ms1m", "prepare_app"]

prepare_app.registered_commands.sort(key=lambda command: str(command.name))
