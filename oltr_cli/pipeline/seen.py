"""Images that a network has seen: what a run was trained on is saved, and a run that starts from it is checked."""

import numpy as np

from oltr_cli.base.text import counted
from oltr_cli.data.feed.opening import OpenedDataset, Split
from oltr_cli.data.lists.lists import ListSplit
from oltr_cli.errors import DataProblem
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.open_sets import OUTLIERS
from oltr_cli.runs.trained_on import Keys, keys_of, save_trained_on, trained_on


def record_trained_on(p: Planned, dataset: OpenedDataset) -> str:
    """Save which images the run ``p`` is trained on, with those of the run it starts from.

    Returns:
        a warning, "" if all is well.
    Raises:
        DataProblem: the run it starts from was trained on images of a split that is for evaluation.
    """
    from oltr_cli.method import Method
    from oltr_cli.training.task import training_images  # both import torch, which planning does without

    assert issubclass(p.cls, Method)
    train = _listed(training_images(p.cls, dataset))
    if train is None:
        return ""
    own, warning = _keys(train), ""
    if p.parent is not None and (before := trained_on(p.parent.path)) is not None:
        own = np.union1d(own, before)
        if p.continues:
            _check(p.parent.name, before, dataset)
    elif p.continues and p.parent is not None:
        warning = (
            f"{p.parent.name} does not say what it was trained on, so this run may be tested on images that it has seen"
        )
    save_trained_on(p.run.path, own)
    return warning


def _check(parent: str, seen: Keys, dataset: OpenedDataset) -> None:
    for name, split in dataset.splits.items():
        listed = _listed(split)
        if name in ("train", OUTLIERS) or listed is None:
            continue
        known = np.flatnonzero(np.isin(_keys(listed), seen))
        if len(known):
            raise DataProblem(
                f"{parent} was trained on {counted(len(known), 'image')} of {name} ({split.names[known[0]]}), "
                "so results would look too good; train without --from, or build the dataset without --redraw"
            )


def _listed(split: Split) -> ListSplit | None:
    """The list of a split, also of one whose pixels are stored; None for the built-in set, which has no files."""
    from oltr_cli.data.store.split import StoredSplit  # imports torch, which planning does without

    if isinstance(split, StoredSplit):
        return split.listed
    return split if isinstance(split, ListSplit) else None


def _keys(split: ListSplit) -> Keys:
    root = str(split.root.resolve())
    return keys_of(f"{root}/{file}" for file in split.files)
