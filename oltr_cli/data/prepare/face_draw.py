"""Which images of which identities MS1M-LT consists of.

Each image gets a number u, uniform in (0, 1), from its name, and images are taken in the order of u/n, where n is how
many its identity has: sequential Poisson sampling (Ohlsson, J. Official Statistics 1998), in which an image's chance is
proportional to n, as the paper says, and the total is exact. The first K identities to appear are the set's; each
keeps its first image, and more of theirs are taken in that order until there are enough. So the sample of an identity
grows with n², which makes the long tail.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.base.seeding import derive
from oltr_cli.errors import DataProblem

NEEDED = 3  # images of an identity of which one is held out for validation and one for test


@dataclass(frozen=True)
class Draw:
    """The identities by label, and for each split their files.

    Attributes:
        names: K identities, sorted. files: split → for each identity its files, sorted.
    """

    names: list[str]
    files: dict[str, list[list[str]]]

    @property
    def images(self) -> int:
        """Training images."""
        return sum(map(len, self.files["train"]))


def draw_faces(identities: Mapping[str, str], images: int, count: int, held_out: int, display: Display) -> Draw:
    """Draw ``images`` images of ``count`` identities, or all if there are fewer.

    Args:
        identities: name → its file names, one a line, sorted: millions of separate strings would fill the memory.
        held_out: identities of which one image goes to ``val`` and one to ``test``.
    Raises:
        DataProblem: no identity has enough images to hold some out, or there are fewer than two.
    """
    names = list(identities)
    number = np.array([identities[name].count("\n") + 1 for name in names], dtype=np.int64)
    owner = np.repeat(np.arange(len(names)), number)
    key = _uniform(identities, display) / number[owner]
    start = np.concatenate(([0], np.cumsum(number)[:-1]))
    ranked = np.lexsort((key, owner))  # image of rank r of identity i: ranked[start[i] + r]
    first = ranked[start]  # of each identity
    chosen = np.sort(np.argsort(key[first], kind="stable")[:count])  # those whose first image comes earliest, by name
    if len(chosen) < 2:
        raise DataProblem(f"{'one' if len(chosen) else 'no'} identity; at least two are needed")
    held = _held_out(names, chosen, number, held_out)
    if not len(held):
        raise DataProblem(f"no identity has {NEEDED} images, one each for training, validation and test")
    last = ranked[start[held] + number[held] - 1]
    taken = {"test": last, "val": ranked[start[held] + number[held] - 2]}
    taken["train"] = _training(key, owner, chosen, first[chosen], np.concatenate(list(taken.values())), images)
    files = {split: _files(identities, names, chosen, start, owner, taken[split]) for split in ("train", "val", "test")}
    return Draw([names[i] for i in chosen], files)


def _uniform(identities: Mapping[str, str], display: Display) -> NDArray[np.float64]:
    """u (N,) of every image, from the name of its identity and the stem of its file."""
    parts = []
    with display.bar("drawing", len(identities), "identities") as bar:
        for name, files in identities.items():
            stems = [f"{name}/{file.rpartition('.')[0]}".encode() for file in files.split("\n")]
            digests = b"".join(hashlib.blake2b(stem, digest_size=8, person=b"ms1m-lt").digest() for stem in stems)
            parts.append(np.frombuffer(digests, "<u8"))
            bar.advance(1, len(stems))
    return (np.concatenate(parts) + 0.5) / 2.0**64


def _held_out(
    names: list[str], chosen: NDArray[np.int64], number: NDArray[np.int64], held_out: int
) -> NDArray[np.int64]:
    able = chosen[number[chosen] >= NEEDED].tolist()
    return np.sort(np.array(sorted(able, key=lambda i: derive("ms1m-lt", "held out", names[i]))[:held_out], np.int64))


def _training(
    key: NDArray[np.float64],
    owner: NDArray[np.int64],
    chosen: NDArray[np.int64],
    first: NDArray[np.int64],
    held: NDArray[np.int64],
    images: int,
) -> NDArray[np.int64]:
    """The first image of each chosen identity, and others of theirs in the order of ``key``."""
    free = np.isin(owner, chosen)
    free[held] = free[first] = False
    others = np.flatnonzero(free)
    more = others[np.argsort(key[others], kind="stable")[: max(0, images - len(first))]]
    return np.concatenate((first, more))


def _files(
    identities: Mapping[str, str],
    names: list[str],
    chosen: NDArray[np.int64],
    start: NDArray[np.int64],
    owner: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> list[list[str]]:
    """For each chosen identity the files among the images ``taken``."""
    taken = np.sort(taken)
    bounds = np.searchsorted(owner[taken], chosen, side="left"), np.searchsorted(owner[taken], chosen, side="right")
    files = []
    for i, low, high in zip(chosen.tolist(), *(b.tolist() for b in bounds), strict=True):
        every = identities[names[i]].split("\n") if high > low else []
        files.append([every[place] for place in (taken[low:high] - start[i]).tolist()])
    return files
