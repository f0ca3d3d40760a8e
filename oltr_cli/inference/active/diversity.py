"""The first of an ordered list of images, without those too similar to an earlier one, spread over nearest classes.

The unit of distance is the median distance between two candidates. On photographs of 64 pixels and on handwriting, with
features of plain and of dme, a picture that is scaled, compressed again or a little brighter is within 0.1 (``SAME``)
of the original; the nearest other photograph is at 0.3 to 0.6. ``SIMILAR`` keeps images of one kind from filling the
answer and hardly changes the order: of the 100 least reachable drawings 73 were of unknown characters, of 34 kinds; 70
and 37 without similar ones. Choosing those that are farthest apart among three times as many (k-centre greedy, Sener &
Savarese, ICLR 2018) found no more unknown ones than chance.

A class that the network knows badly is the nearest one of many images. No class gets more than its ``cap`` of the
budget, as long as there are images of others.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CANDIDATES = 3  # rows per image of the budget among which SIMILAR ones are skipped
SPREAD = 5  # classes that share the budget, or all that there are
SIMILAR, SAME = 0.5, 0.1  # of the median distance
SAMPLE = 1000  # candidates whose distances make the median
BLOCK = 2048  # rows of a matrix of distances

Floats = NDArray[np.float32]


def cap(nearest: NDArray[np.int64], budget: int) -> int:
    """The most images of one nearest class (N,) in the budget: a fifth, or an equal share of fewer classes."""
    return -(-budget // max(1, min(SPREAD, len(np.unique(nearest)))))


def diverse(
    features: Floats, nearest: NDArray[np.int64], budget: int, advance: Callable[[int], None] = lambda picked: None
) -> NDArray[np.int64]:
    """Indices of up to ``budget`` rows, rising.

    Rows are taken in order, except those within ``SIMILAR`` of one taken before and those of a class that has its
    ``cap``, as long as the first ``CANDIDATES`` · budget rows are enough. The rest is taken in order from all rows,
    except those within ``SAME``, and last without a cap.

    Args:
        features: (N, D), finite.
        nearest: class of each row (N,).
        advance: called for each row taken.
    """
    if not len(features):
        return np.empty(0, np.int64)
    taken = _Taken(features, nearest, min(len(features), CANDIDATES * budget))
    for radius, most in ((SIMILAR, cap(nearest, budget)), (SAME, cap(nearest, budget)), (SAME, budget)):
        while len(taken.rows) < budget and taken.take_next(radius, most):
            advance(1)
        if len(taken.rows) < budget:
            taken.extend(len(features))
    return np.sort(np.array(taken.rows, np.int64))


class _Taken:
    """The rows taken, and for each of the first ``len(nearest)`` rows the squared distance to the nearest of them."""

    def __init__(self, features: Floats, classes: NDArray[np.int64], candidates: int) -> None:
        # Relative to their mean the products below keep more digits.
        self.features = features - features[:candidates].mean(axis=0)
        self.squares = np.einsum("nd,nd->n", self.features, self.features)
        self.rows: list[int] = []
        self.nearest = np.full(candidates, np.inf, np.float32)
        self.class_of = np.unique(classes, return_inverse=True)[1].reshape(-1)
        self.of_class = np.zeros(int(self.class_of.max()) + 1, np.int64)  # rows taken of each
        self.median = self._median_distance(candidates)

    def take_next(self, radius: float, most: int) -> bool:
        """Take the first row that is farther than ``radius`` from all taken ones, of a class with fewer than ``most``
        taken rows; False if there is none."""
        far = self.nearest > (radius * self.median) ** 2
        far &= (self.of_class < most)[self.class_of[: len(far)]]
        new = int(far.argmax())
        if not far[new]:
            return False
        self.rows.append(new)
        self.of_class[self.class_of[new]] += 1
        np.minimum(self.nearest, self._squared(slice(0, len(self.nearest)), [new])[:, 0], out=self.nearest)
        self.nearest[new] = -1  # not taken twice, whatever the rounding and the radius
        return True

    def extend(self, stop: int) -> None:
        """Include the rows up to ``stop``."""
        parts = [self.nearest]
        for start in range(len(self.nearest), stop, BLOCK):
            rows = slice(start, min(start + BLOCK, stop))
            nearest = np.full(rows.stop - start, np.inf, np.float32)
            for first in range(0, len(self.rows), BLOCK):
                np.minimum(nearest, self._squared(rows, self.rows[first : first + BLOCK]).min(axis=1), out=nearest)
            parts.append(nearest)
        self.nearest = np.concatenate(parts)

    def _squared(self, rows: slice | NDArray[np.int64], others: list[int] | NDArray[np.int64]) -> Floats:
        """Squared distances (N, M) from N rows to M others."""
        distances = self.features[rows] @ self.features[others].T
        distances *= -2
        distances += self.squares[rows][:, None]
        distances += self.squares[others]
        return np.maximum(distances, 0, out=distances)

    def _median_distance(self, candidates: int) -> float:
        """Median distance between different candidates, of at most ``SAMPLE`` evenly spaced ones; 0 for a single
        one."""
        rows = np.unique(np.linspace(0, candidates - 1, min(candidates, SAMPLE)).astype(np.int64))
        if len(rows) < 2:
            return 0.0
        return float(np.sqrt(np.median(self._squared(rows, rows)[np.triu_indices(len(rows), 1)])))
