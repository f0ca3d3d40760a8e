"""Which images make up which batch. Stateless: any batch of any epoch follows from (seed, epoch, step) alone.

All samplers of known images return, for one epoch, an index array (steps, batch_size), with steps = max(1, ⌊N /
batch_size⌋): the number of training images sets the length of an epoch, not the number of over-sampled ones.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.seeding import derive, generator


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """⌊N / batch⌋, at least one."""
    return max(1, num_images // batch_size)


def instance_balanced(num_images: int, batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Every image equally often: a fresh permutation each epoch, without its incomplete last batch.

    Returns:
        indices (steps, batch_size); (1, N) when there are fewer images than a batch holds.
    """
    order = generator(seed, "instance", epoch).permutation(num_images)
    steps = steps_per_epoch(num_images, batch_size)
    size = min(batch_size, num_images)
    return order[: steps * size].reshape(steps, size)


def outlier_batches(num_outliers: int, rows: int, steps: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Outliers of each step of an epoch: an endless list of shuffled rounds through all of them, continued across
    epochs.

    Returns:
        numbers of outliers (steps, rows).
    """
    place = np.arange(epoch * steps * rows, (epoch + 1) * steps * rows)
    rounds = place // num_outliers
    number = np.arange(num_outliers)
    keys = _hash(derive(seed, "outliers"), np.arange(rounds[0], rounds[-1] + 1)[:, None], number[None, :])
    orders = np.argsort(keys, axis=1, kind="stable")
    return orders[rounds - rounds[0], place % num_outliers].reshape(steps, rows)


def spread(known: int, outliers: int) -> NDArray[np.int64]:
    """The order of a batch of ``known`` images followed by ``outliers``: evenly mixed, so that any neighbours are too.

    Processes get neighbouring rows of a batch (``rank_share``).
    """
    place = np.concatenate([(np.arange(size) + 0.5) / size for size in (known, outliers) if size])
    return np.argsort(place, kind="stable")


class _ByClass:
    """The images of each class, in an endless list that is shuffled anew whenever all of them have come."""

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self.counts = np.bincount(labels)
        self.members = np.argsort(labels, kind="stable")  # images of class k: members[first[k] : first[k] + counts[k]]
        self.first = np.concatenate(([0], np.cumsum(self.counts)[:-1]))

    def images(self, classes: NDArray[np.int64], drawn: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """The image that is number ``drawn`` in the list of its class; ``seed`` shuffles the lists."""
        size = self.counts[classes]
        shuffle, place = drawn // size, drawn % size
        # One permutation for each (class, shuffle) that occurs, all of them by one sort of hashed keys.
        pairs, which = np.unique(np.stack([classes, shuffle]), axis=1, return_inverse=True)
        lengths = self.counts[pairs[0]]
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        pair = np.repeat(np.arange(len(lengths)), lengths)
        member = np.arange(len(pair)) - starts[pair]
        keys = _hash(seed, pairs[0][pair], pairs[1][pair], member)
        order = np.lexsort((keys, pair))  # within each pair's stretch: its members in shuffled order
        chosen = member[order[starts[which.ravel()] + place]]
        return self.members[self.first[classes] + chosen]


class ClassAware(_ByClass):
    """Class-aware sampling (Shen et al. 2016; used for every stage-2 row of the paper).

    An endless list of slots runs through all K classes in a shuffled order, again and again, each round in a new order;
    a slot draws ``images_per_class`` images of its class, which likewise runs through its own images in a shuffled
    order and is reshuffled when they are used up. Batches cut this list into pieces of batch_size / images_per_class
    slots, epochs into pieces of ⌊N / batch_size⌋ batches; the list continues across epochs.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, images_per_class: int, seed: int) -> None:
        super().__init__(labels)
        self.batch_size, self.images_per_class, self.seed = batch_size, images_per_class, seed
        self.steps = steps_per_epoch(len(labels), batch_size)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Indices (steps, batch_size) of one epoch, counted from 0."""
        slots = self.steps * (self.batch_size // self.images_per_class)
        slot = np.arange(epoch * slots, (epoch + 1) * slots)
        classes, rounds = self._classes(slot)
        # A class comes once in every round of classes, so its n-th visit is round n: no counter has to be kept.
        drawn = rounds[:, None] * self.images_per_class + np.arange(self.images_per_class)
        repeated, shuffle = np.repeat(classes, self.images_per_class), derive(self.seed, "images")
        return self.images(repeated, drawn.ravel(), shuffle).reshape(self.steps, -1)

    def _classes(self, slot: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Class and round of each slot; a round orders the classes by a hash of (seed, round, class)."""
        num_classes = len(self.counts)
        rounds = slot // num_classes
        first, last = rounds[0], rounds[-1]
        keys = _hash(derive(self.seed, "classes"), np.arange(first, last + 1)[:, None], np.arange(num_classes)[None, :])
        orders = np.argsort(keys, axis=1, kind="stable")
        return orders[rounds - first, slot % num_classes], rounds


class Weighted(_ByClass):
    """Each image of a batch is of class c with probability p_c, drawn anew for each.

        sqrt          p_c = √n_c / Σ_k √n_k                    (Mahajan et al. 2018)
        progressive   p_c = (1 − t/T) · n_c / N + (t/T) / K    (Kang et al. 2020, Eq. 2)

    t is the epoch, from 0 to T − 1, as the equation has it; its authors' code divides by T − 1. Within an epoch, the
    images of a class come in shuffled order, and none comes again before all have.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        kind: Literal["sqrt", "progressive"],
        epochs: int,
        seed: int,
    ) -> None:
        super().__init__(labels)
        self.batch_size, self.kind, self.epochs, self.seed = batch_size, kind, epochs, seed
        self.steps = steps_per_epoch(len(labels), batch_size)

    def probabilities(self, epoch: int) -> NDArray[np.float64]:
        """p (K,) in ``epoch``, counted from 0."""
        if self.kind == "sqrt":
            roots = np.sqrt(self.counts)
            return roots / roots.sum()
        done, occurs = epoch / self.epochs, self.counts > 0
        return (1 - done) * self.counts / self.counts.sum() + done * occurs / occurs.sum()

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Indices (steps, batch_size) of one epoch, counted from 0."""
        size = self.steps * self.batch_size
        classes = generator(self.seed, self.kind, epoch).choice(len(self.counts), size, p=self.probabilities(epoch))
        # How often the class was drawn before in this epoch.
        order = np.argsort(classes, kind="stable")
        counts = np.bincount(classes, minlength=len(self.counts))
        before = np.empty(size, np.int64)
        before[order] = np.arange(size) - np.repeat(np.cumsum(counts) - counts, counts)
        shuffle = derive(self.seed, f"{self.kind} images", epoch)
        return self.images(classes, before, shuffle).reshape(self.steps, -1)


def _hash(seed: int, *parts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 well-mixed bits for each combination of ``parts`` (broadcast): SplitMix64's finaliser, once per part."""
    with np.errstate(over="ignore"):
        state = np.asarray(np.uint64(seed))
        for part in parts:
            state = state + (part.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state
