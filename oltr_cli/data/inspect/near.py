"""Nearly identical photographs, as bursts, re-encoded copies and small crops, in groups; by a perceptual hash.

The hash is that of ``imagehash.phash``: 64 signs of the lowest frequencies of the grey image, reduced to 32×32. It is
taken of the whole image and of crops that leave 95 or 90 % of the width or height, since a crop moves all of it. Two
images are near if the hash of one differs from one of the other's in at most ``NEAR`` bits, and if they then agree in
detail: the correlation of their frequencies, the higher ones as heavy as the lower ones. Two drawings of a letter do
that, too, so more is asked for where most pixels have one value. Images without contrast, such as black frames, are
near to none.

Of hashes only those are compared that agree in one of four bands of 16 bits but for one bit, as all that are wanted do,
and none that are in one group already. So a thousand frames of one camera do not cost a million comparisons.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem

SHOWN = 5
SIDE = 32  # of the thumbnails
NEAR = 7  # of 64 bits
ALIKE = 0.88  # correlation; of 29,000 different photographs of Tiny ImageNet with near hashes, the highest is 0.86
ALIKE_DRAWN = 0.97  # of images in which more than FLAT of the pixels are within 2 % of one value
FLAT = 0.6  # one photograph in 200 of Tiny ImageNet has that, and each drawing of Omniglot
PLAIN = 4.0  # grey levels: standard deviation of what is too plain to compare
_HASHED, _COMPARED = 8, 12  # lowest frequencies in each direction
_CROPS = (0.05, 0.1)
_BAND, _BANDS = 16, 4  # of NEAR differing bits, at most one is in some band, since NEAR < 2 · _BANDS
_MANY = 200_000  # with more images only bands are compared that are equal: of that many, pairs that differ in 3 bits
_MOST = 256  # hashes of one band that an image is compared with; more there are near each other in long chains
_AT_ONCE = 1 << 21  # pairs of hashes that are compared at a time
_CONFIRMED_AT_ONCE = 1 << 14  # pairs of images

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float32]
Looked = tuple[int, NDArray[np.uint8]]


def look(path: Path) -> Looked | str:
    """Shorter side in pixels and grey thumbnail (SIDE, SIDE) of an image, or why it cannot be decoded."""
    from oltr_cli.data.images import grey_thumbnail  # Pillow, which the other checks do not need

    try:
        size, thumbnail = grey_thumbnail(path, SIDE)
    except DataProblem as problem:
        return str(problem).removeprefix(f"{path}: ")
    except MemoryError:
        return "too large for the memory"
    return min(size), thumbnail


def near_copies(thumbnails: Mapping[Key, NDArray[np.uint8]]) -> list[list[Key]]:
    """The images that are near each other, directly or in a chain; two or more in each group.

    Args:
        thumbnails: (SIDE, SIDE) by image, of ``look``.
    """
    if not thumbnails:
        return []
    groups: dict[int, list[Key]] = {}
    for key, group in zip(thumbnails, near_groups(np.stack(list(thumbnails.values()))).tolist(), strict=True):
        groups.setdefault(group, []).append(key)
    return [members for members in groups.values() if len(members) > 1]


def near_in_two_splits(
    files: Mapping[str, Sequence[Key]], groups: Sequence[Sequence[Key]]
) -> Iterator[tuple[str, str, list[tuple[Key, Key]]]]:
    """(split, other split, images of the other one that are near to one of the first, each with that one).

    Args:
        files: of each split. groups: of near copies. A file is no copy of itself.
    """
    wanted = {file for group in groups for file in group}
    splits: dict[Key, list[str]] = {}
    for split, found in files.items():
        for file in found:
            if file in wanted:
                splits.setdefault(file, []).append(split)
    for one, other in combinations(files, 2):
        pairs = []
        for group in groups:
            first = [file for file in group if one in splits.get(file, ())]
            for file in group if first else ():
                match = next((f for f in first if f != file), None)
                if match is not None and other in splits.get(file, ()):
                    pairs.append((file, match))
        if pairs:
            yield one, other, pairs


def near_groups(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the group (N,) of each of ``thumbnails`` (N, SIDE, SIDE); one that is near to none is alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group = np.arange(len(thumbnails))
    usable = np.flatnonzero(thumbnails.std(axis=(1, 2), dtype=np.float32) > PLAIN)
    if not len(usable):
        return group
    least = np.where(_drawn(thumbnails), np.float32(ALIKE_DRAWN), np.float32(ALIKE))
    hashes = np.stack([_hashes(thumbnails[usable], crop) for crop in range(len(_WINDOWS))], axis=1)  # (n, crops)
    for a, variant in _candidates(hashes):
        # One candidate of each image first: where many are alike, most of the others are in one group by then.
        rank = np.arange(len(a)) - np.searchsorted(a, a)
        order = np.argsort(rank, kind="stable")
        b, crop = np.divmod(variant[order], len(_WINDOWS))
        first, second = usable[a[order]], usable[b]
        while len(first):
            new = group[first] != group[second]
            first, second, crop = first[new], second[new], crop[new]
            now = slice(_CONFIRMED_AT_ONCE)
            alike = _correlation(thumbnails, first[now], second[now], crop[now]) >= least[first[now]]
            if alike.any():
                ends = group[first[now][alike]], group[second[now][alike]]
                edges = coo_array((np.ones(alike.sum(), bool), ends), shape=(len(group),) * 2)
                group = connected_components(edges, directed=False)[1][group]
            first, second, crop = (rest[_CONFIRMED_AT_ONCE:] for rest in (first, second, crop))
    return group


def _drawn(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of them (N,) have one value nearly everywhere."""
    values = np.sort(thumbnails.reshape(len(thumbnails), -1), axis=1).astype(np.int16)
    middle, contrast = values[:, values.shape[1] // 2], values[:, -1] - values[:, 0]
    return (np.abs(values - middle[:, None]) <= 0.02 * contrast[:, None]).mean(axis=1) > FLAT


def _windows() -> tuple[Floats, ...]:
    """Matrices (_COMPARED, SIDE) from pixels of a row to frequencies of a window of it; of the whole row first."""
    frequency, position = np.arange(_COMPARED)[:, None], np.arange(SIDE)
    cosines = np.cos(np.pi * frequency * (2 * position + 1) / (2 * SIDE))
    found = []
    for cut, side in ((0.0, 0.0), *((cut, side) for cut in _CROPS for side in (0.0, 0.5, 1.0))):
        # Linear between the centres of pixels.
        at = np.clip((position + 0.5) * (1 - cut) + SIDE * cut * side - 0.5, 0, SIDE - 1)
        below = np.minimum(at.astype(int), SIDE - 2)
        sampled = np.zeros((SIDE, SIDE))
        sampled[position, below] = 1 - (at - below)
        sampled[position, below + 1] = at - below
        found.append((cosines @ sampled / SIDE).astype(np.float32))
    return tuple(found)


_OF_ROWS = np.stack(_windows())
_WINDOWS = [(y, x) for y in range(len(_OF_ROWS)) for x in range(len(_OF_ROWS))]


def _weights() -> Floats:
    """What makes frequencies of a photograph, which fall as 1/f, equally heavy; without the mean."""
    frequency = np.arange(_COMPARED)
    norm = np.where(frequency, np.sqrt(2), 1)
    return (np.hypot(frequency[:, None], frequency) * norm[:, None] * norm).astype(np.float32)


_WEIGHTS = _weights()


def _frequencies(thumbnails: NDArray[np.uint8], y: NDArray | int, x: NDArray | int, count: int) -> Floats:
    """The lowest frequencies (N, count, count) of the windows ``y`` and ``x`` of thumbnails (N, SIDE, SIDE)."""
    rows = _OF_ROWS[y, :count] @ thumbnails.astype(np.float32)
    return rows @ np.swapaxes(_OF_ROWS[x, :count], -1, -2)


def _hashes(thumbnails: NDArray[np.uint8], crop: int) -> NDArray[np.uint64]:
    """64 bits of each thumbnail, of one of its windows: which frequencies are above their median."""
    found = []
    for start in range(0, len(thumbnails), 1 << 14):
        values = _frequencies(thumbnails[start : start + (1 << 14)], *_WINDOWS[crop], _HASHED).reshape(-1, _HASHED**2)
        bits = values > np.median(values, axis=1, keepdims=True)
        found.append(np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64))
    return np.concatenate(found)


def _correlation(thumbnails: NDArray[np.uint8], a: NDArray, b: NDArray, crop: NDArray) -> Floats:
    """Of images ``a`` and the windows ``crop`` of images ``b`` (n,)."""
    windows = np.array(_WINDOWS)[crop]
    first = (_frequencies(thumbnails[a], 0, 0, _COMPARED) * _WEIGHTS).reshape(len(a), _COMPARED**2)
    second = _frequencies(thumbnails[b], windows[:, 0], windows[:, 1], _COMPARED) * _WEIGHTS
    second = second.reshape(len(a), _COMPARED**2)
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(scale, 1e-6)


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Images, and positions in all of ``hashes`` (N, crops) of other images that the first one's hash is near to."""
    whole, crops = hashes[:, 0], hashes.shape[1]
    every = hashes.reshape(-1)
    flips = [0, *(1 << bit for bit in range(_BAND))] if len(whole) <= _MANY else [0]
    for number in range(_BANDS):
        shift = np.uint64(number * _BAND)
        band = (every >> shift).astype(np.uint16)
        order = np.argsort(band, kind="stable")
        starts = np.searchsorted(band[order], np.arange((1 << _BAND) + 1))
        for flipped in flips:
            wanted = (whole >> shift).astype(np.uint16) ^ np.uint16(flipped)
            first, counts = starts[wanted], starts[wanted.astype(int) + 1] - starts[wanted]
            compared = np.minimum(counts, _MOST)
            ends = np.cumsum(compared)
            start = 0
            while start < len(whole):
                done = ends[start - 1] if start else 0
                stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
                part = compared[start:stop]
                a = np.repeat(np.arange(start, stop), part)
                within = np.arange(len(a)) - np.repeat(np.cumsum(part) - part, part)
                step = np.repeat(counts[start:stop] / np.maximum(part, 1), part)
                b = order[np.repeat(first[start:stop], part) + (within * step).astype(np.int64)]
                close = (np.bitwise_count(whole[a] ^ every[b]) <= NEAR) & (b // crops != a)
                if close.any():
                    yield a[close], b[close]
                start = stop
