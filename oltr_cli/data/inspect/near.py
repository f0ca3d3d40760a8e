"""Nearly identical images, as in bursts, that are in two splits, by a perceptual hash.

The hash is imagehash's ``phash``: 64 signs of the lowest frequencies of the grey image, reduced to 32×32. Frames of a
burst differ in a few of them, other photographs in about half. Of 8,000 photographs of Tiny ImageNet no two different
ones are within ``NEAR``; of frames shifted by up to 4 of 240 pixels, with noise and other brightness, nine in ten are.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

NEAR = 7  # of 64 bits
SHOWN = 5
_BAND, _BANDS = (
    16,
    4,
)  # bits, and how many: of NEAR differing bits, at most one is in some band, since NEAR < 2 · _BANDS
_AT_ONCE = 1 << 22  # pairs that are compared at a time

Near = tuple[str, str, int, list[str]]


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """64 bits of an image (H, W, 3), uint8; ``decode_pixels`` gives one, of 16-bit greys, too."""
    import imagehash  # and with it scipy: only where images are decoded
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(pixels)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_in_two_splits(files: Mapping[str, Sequence[str]], hashes: Mapping[str, int]) -> Iterator[Near]:
    """(split, other split, images of the other one that nearly are one of the first, the first five with theirs).

    Args:
        files: of each split. hashes: by file; files without one are left out, and pairs of a file with itself.
    """
    seen: dict[int, dict[str, str]] = {}  # hash → split → its first file there
    for split, paths in files.items():
        for path in paths:
            if path in hashes:
                seen.setdefault(hashes[path], {}).setdefault(split, path)
    near: dict[int, list[int]] = {value: [value] for value in seen}
    values = np.array(list(seen), dtype=np.uint64)
    for a, b in values[near_pairs(values)].tolist():
        near[a].append(b)
        near[b].append(a)
    for one, other in combinations(files, 2):
        found = [
            f"{path} = {match}"
            for path in files[other]
            if path in hashes
            and (match := next((seen[v][one] for v in near[hashes[path]] if seen[v].get(one, path) != path), ""))
        ]
        if found:
            yield one, other, len(found), found[:SHOWN]


def near_pairs(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Index pairs (M, 2), the smaller first, of different hashes (N,) that differ in at most ``NEAR`` bits.

    Only pairs are compared that agree in one of four bands of 16 bits but for one bit, as all that are wanted do: of a
    million random hashes, one pair in 960.
    """
    found = [np.empty((0, 2), np.int64)]
    for number in range(_BANDS):
        band = (hashes >> np.uint64(number * _BAND)).astype(np.uint16)
        order = np.argsort(band, kind="stable")
        ranked = band[order]
        for flipped in (0, *(1 << bit for bit in range(_BAND))):
            wanted = band ^ np.uint16(flipped)
            first = np.searchsorted(ranked, wanted, "left")
            counts = np.searchsorted(ranked, wanted, "right") - first
            ends = np.cumsum(counts)
            start = 0
            while start < len(hashes):
                done = ends[start - 1] if start else 0
                stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
                part = counts[start:stop]
                a = np.repeat(np.arange(start, stop), part)
                within = np.arange(len(a)) - np.repeat(np.cumsum(part) - part, part)
                b = order[np.repeat(first[start:stop], part) + within]
                close = (a < b) & (np.bitwise_count(hashes[a] ^ hashes[b]) <= NEAR)
                found.append(np.stack([a[close], b[close]], axis=1))
                start = stop
    return np.unique(np.concatenate(found), axis=0)
