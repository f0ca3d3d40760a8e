"""The first of an ordered list of images, without near-duplicates, spread over groups that look alike to the network.

Near-duplicates count once: of images within ``SAME`` of each other the first is kept. The unit of distance is the
median distance between two images of the folder, or of the run's validation images if that is larger: in a folder with
hundreds of pictures of one scene, the median distance is one between near-duplicates. On photographs of 64 pixels and
on handwriting, with features of plain and of dme, a picture that is scaled, compressed again or a little brighter is
within 0.1 of the original; the nearest other photograph is at 0.3 to 0.6.

Of what is kept, the first ``CANDIDATES`` · budget are grouped by k-means, and the groups take turns: each gives its
first image, then its second, and so on, until the budget is spent. Source: Cluster-Margin, Citovsky et al., "Batch
Active Learning at Scale", NeurIPS 2021. Deviations: k-means instead of agglomerative clustering, whose memory is the
square of the number of images, and groups with few images do not come first. It is not k-centre greedy (Sener &
Savarese, ICLR 2018): choosing those that are farthest apart found no more unknown drawings than chance.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.inference.groups.cluster import components, unit

CANDIDATES = 3  # rows per image of the budget that are grouped
PER_GROUP, MOST_GROUPS = 2, 100  # a group for this many images of the budget, and not more groups than that
SAME = 0.1  # of the median distance
SAMPLE = 1000  # images whose distances make the median
BLOCK = 1024  # rows of a matrix of distances

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """What was taken of an ordered list.

    Attributes:
        rows: indices (n,), rising.
        groups: of the taken rows (n,), 0 for that of the first.
        similar: rows passed over because they are near-duplicates; ``crowded``: because their group had its turns.
    """

    rows: Rows
    groups: Rows
    similar: int
    crowded: int


def spread(features: Floats, budget: int, known: Floats | None = None) -> Spread:
    """Up to ``budget`` rows of ``features`` (N, D), of which earlier ones are to be preferred.

    Args:
        known: features (M, D) of the run's validation images, which give the unit of distance too.
    """
    if not len(features):
        none = np.empty(0, np.int64)
        return Spread(none, none, 0, 0)
    scale = max(median_distance(features), 0.0 if known is None else median_distance(known))
    kept = distinct(features, SAME * scale, CANDIDATES * budget)
    group = _groups(features[kept], -(-budget // PER_GROUP))
    places = np.sort(np.lexsort((np.arange(len(kept)), _place_in_group(group)))[:budget])
    rows, groups = kept[places], group[places]
    there_was_room = len(rows) < budget
    # Rows that come after the last taken one were not passed over, unless there was room for them.
    before = len(features) if there_was_room else int(rows[-1]) + 1
    crowded = int((kept < before).sum()) - len(rows)
    first, number = np.unique(groups, return_index=True)[1], np.unique(groups, return_inverse=True)[1]
    in_order = np.argsort(np.argsort(first))
    return Spread(rows, in_order[number.reshape(-1)], before - len(rows) - crowded, crowded)


def distinct(features: Floats, radius: float, most: int) -> Rows:
    """The first ``most`` rows of (N, D) that are farther than ``radius`` from each one kept before, rising."""
    x = features - features.mean(axis=0)  # relative to their mean the products below keep more digits
    squares = np.einsum("nd,nd->n", x, x)
    limit = max(radius**2, 1e-6 * float(squares.mean()))  # equal rows differ by rounding
    kept = np.empty(0, np.int64)
    for start in range(0, len(x), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(x)))
        new = np.ones(len(rows), np.bool_)
        for first in range(0, len(kept), BLOCK):
            new &= (_squared(x, squares, rows, kept[first : first + BLOCK]) > limit).all(axis=1)
        near = np.tril(_squared(x, squares, rows, rows) <= limit, -1)
        for row in np.flatnonzero(near.any(axis=1) & new):  # only those that may repeat one of the block
            new[row] = not (near[row] & new).any()
        kept = np.concatenate([kept, rows[new]])
        if len(kept) >= most:
            break
    return kept[:most]


def _groups(features: Floats, count: int) -> Rows:
    """The group of each row (N,) by k-means, on features of length 1 as ``oltr data groups`` compares them."""
    count = min(count, MOST_GROUPS, len(features))
    if count < 2:
        return np.zeros(len(features), np.int64)
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than groups
        return KMeans(count, n_init=1, random_state=0).fit_predict(components(unit(features))).astype(np.int64)


def _place_in_group(group: Rows) -> Rows:
    """How many rows before each row are of its group, (N,)."""
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def _squared(x: Floats, squares: Floats, rows: Rows, others: Rows) -> Floats:
    """Squared distances (N, M) from N rows to M others."""
    distances = x[rows] @ x[others].T
    distances *= -2
    distances += squares[rows][:, None]
    distances += squares[others]
    return np.maximum(distances, 0, out=distances)


def median_distance(features: NDArray[np.floating]) -> float:
    """Median distance between different rows, of at most ``SAMPLE`` evenly spaced ones; 0 for a single one."""
    rows = np.unique(np.linspace(0, len(features) - 1, min(len(features), SAMPLE)).astype(np.int64))
    if len(rows) < 2:
        return 0.0
    x = np.asarray(features[rows], np.float32)
    x = x - x.mean(axis=0)
    everything = np.arange(len(x))
    distances = _squared(x, np.einsum("nd,nd->n", x, x), everything, everything)
    return float(np.sqrt(np.median(distances[np.triu_indices(len(x), 1)])))
