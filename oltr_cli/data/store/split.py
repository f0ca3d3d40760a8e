"""A split whose images come from a store instead of their files."""

import hashlib
import os
import shlex
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.base.machine import cores
from oltr_cli.base.text import counted
from oltr_cli.data.feed.opening import OpenedDataset, Split
from oltr_cli.data.feed.transforms import shrunk
from oltr_cli.data.lists.lists import ListSplit
from oltr_cli.data.store.build import Places, build_store, file_state
from oltr_cli.data.store.folder import StoreFolder
from oltr_cli.data.store.shards import BYTES, CRC, HEIGHT, PIXELS, WIDTH
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import OUTLIERS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class StoredSplit:
    """N images with the labels and names of a list, and their places in a store.

    An image is checked when it is first read. A damaged one is decoded from its file, so that its pixels are the same;
    its shard is removed, if its folder can be written, and built again when the dataset is next opened.
    """

    listed: ListSplit
    places: Places
    side: int
    dataset: str

    def __post_init__(self) -> None:
        self.checked = np.zeros(len(self.listed), bool)
        self._kept: set[Path] = set()  # damaged shards that cannot be removed

    def __len__(self) -> int:
        return len(self.listed)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.listed.labels

    @property
    def names(self) -> list[str]:
        return self.listed.names

    def joined(self, other: "StoredSplit") -> "StoredSplit":
        """The images of both, those of ``other`` last; both are in the same store."""
        listed, places = self.listed.joined(other.listed), self.places.joined(other.places)
        return StoredSplit(listed, places, self.side, self.dataset)

    @cached_property
    def shapes(self) -> NDArray[np.int64]:
        """Height and width of each image (N, 2); zeros for one that cannot be decoded."""
        return np.stack([self.places.column(HEIGHT), self.places.column(WIDTH)], axis=1)

    def image(self, index: int) -> "Tensor":
        """The shrunk image as uint8 (3, H, W); raises DataProblem with the file's name if it cannot be decoded."""
        import torch

        pixels = self.pixels(index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch cannot mark a tensor as read-only; nothing writes to images
            return torch.from_numpy(pixels).permute(2, 0, 1)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """The shrunk image as uint8 (H, W, 3), a view of the store where it is whole.

        Raises:
            DataProblem: its file cannot be decoded.
        """
        shard, row = self.places.shards[self.places.which[index]], int(self.places.row[index])
        if not shard.table[row, WIDTH]:
            name = self.listed.files[index]
            raise DataProblem(shard.reasons.get(name) or f"{self.listed.root / name}: cannot be decoded")
        with suppress(DataProblem):
            if self.checked[index] or shard.is_whole(row):
                self.checked[index] = True
                return shard.image(row)
        if shard.path.exists() and shard.path not in self._kept:
            if shard.remove():
                what = "was removed; its images are decoded from their files now, and stored again by the next command"
            else:
                self._kept.add(shard.path)
                what = "cannot be removed; its damaged images are decoded from their files"
            Display().warn(f"{shard.path.with_suffix(PIXELS)}: is damaged and {what}")
        return np.ascontiguousarray(shrunk(self.listed.image(index), self.side).permute(1, 2, 0).numpy())


def from_store(dataset: OpenedDataset, display: Display) -> OpenedDataset:
    """The dataset with its images in a store, if its recipe has a ``store_side``; what is missing is stored first.

    Raises:
        OltrError, Stopped: as ``build_store``.
    """
    side = dataset.spec.store_side
    listed = _listed(dataset)
    if side is None or not listed:
        return dataset
    places, _ = build_store(*store_of(dataset), cores(), display)
    splits, start = dict(dataset.splits), 0
    for name, split in listed.items():
        splits[name] = StoredSplit(split, places.of(slice(start, start + len(split))), side, dataset.spec.name)
        start += len(split)
    _warn_of_copies({name: split for name, split in splits.items() if isinstance(split, StoredSplit)}, display)
    return replace(dataset, splits=splits)


def store_of(dataset: OpenedDataset) -> tuple[StoreFolder, list[str]]:
    """The store of a dataset whose recipe has a ``store_side``, and the files that belong into it, in order."""
    listed = _listed(dataset)
    assert dataset.spec.store_side is not None
    store = StoreFolder(dataset.spec.name, next(iter(listed.values())).root, dataset.spec.store_side)
    return store, [file for split in listed.values() for file in split.files]


def _listed(dataset: OpenedDataset) -> dict[str, ListSplit]:
    return {name: split for name, split in dataset.splits.items() if isinstance(split, ListSplit)}


def _warn_of_copies(splits: dict[str, StoredSplit], display: Display) -> None:
    """Warn of images of an evaluation split that have the pixels and the file size of a training image or outlier."""
    keys = {
        name: (split.places.column(CRC).astype(np.uint64) << np.uint64(32))
        | (split.places.column(BYTES).astype(np.uint64) & np.uint64(2**32 - 1))
        for name, split in splits.items()
    }
    trained = [name for name in ("train", OUTLIERS) if name in splits]
    for source, (name, split) in product(trained, splits.items()):
        if name in trained:
            continue
        copies = np.flatnonzero(np.isin(keys[name], keys[source]) & (split.shapes[:, 1] > 0))
        if len(copies):
            original = splits[source].names[int(np.flatnonzero(keys[source] == keys[name][copies[0]])[0])]
            images = "training images" if source == "train" else "outliers"
            display.warn(
                f"{name} has {counted(len(copies), 'image')} copied from {images} ({split.names[copies[0]]} of "
                f"{original}), so results on {name} look too good; all of them: oltr data check "
                f"{shlex.quote(split.dataset)} --content"
            )


def digest_of_files(images: Split) -> bytes:
    """A digest of where the files of a split are, and of the size and time of each; nothing for the built-in set.

    Names and labels alone would take a dataset of the same name elsewhere, or a changed picture, for this one.
    """
    listed = images.listed if isinstance(images, StoredSplit) else images
    if not isinstance(listed, ListSplit):
        return b""
    digest = hashlib.sha256(os.fsencode(listed.root.resolve()))
    digest.update(np.array([file_state(listed.root / name) for name in listed.files], np.int64).tobytes())
    return digest.digest()
