"""What to label next: the images that a finished run knows least, no two nearly the same."""

import hashlib
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem
from oltr_cli.inference.active.diversity import SAME, Spread, distinct, median_distance, spread
from oltr_cli.inference.active.measure import By, Measure
from oltr_cli.inference.active.training_images import TrainingFiles, training_files
from oltr_cli.inference.image_paths import Source
from oltr_cli.inference.image_stream import ImageBatch, ImageStream
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.scores import SavedScores

KEEP, KEEP_AT_LEAST = 20, 2000  # images kept with their features: this many per image of the budget


@dataclass(frozen=True)
class Rows:
    """N images with the run's answers.

    Attributes:
        uncertainty: γ, or minus the confidence; higher = less known.
        reachability: γ, NaN where the method has no centroids.
        nearest: label of the nearest class: of the nearest centroid, or of the largest logit.
        features: (N, D).
    """

    paths: NDArray[np.object_]
    uncertainty: NDArray[np.float32]
    confidence: NDArray[np.float32]
    reachability: NDArray[np.float32]
    nearest: NDArray[np.int64]
    prediction: NDArray[np.int64]
    unknown: NDArray[np.bool_]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def none(cls) -> "Rows":
        """No image."""
        numbers, labels = np.empty(0, np.float32), np.empty(0, np.int64)
        none, features = np.empty(0, object), np.empty((0, 0), np.float32)
        return cls(none, numbers, numbers, numbers, labels, labels, np.empty(0, np.bool_), features)

    def least_known(self, most: int) -> "Rows":
        """The ``most`` least known rows, of equal ones the one that comes first."""
        return self.take(np.argsort(-self.uncertainty, kind="stable")[:most])

    def take(self, which: NDArray) -> "Rows":
        """The rows that an index or a mask names."""
        return Rows(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


@dataclass
class Counts:
    """Numbers of images: ``images`` counts all, the others those that were left out.

    ``copies`` look the same to the network, and ``similar`` nearly the same as one that is known less. ``crowded`` are
    as unknown as the chosen ones, but of a group that had its turns.
    """

    images: int = 0
    failed: int = 0
    copies: int = 0
    training: int = 0
    similar: int = 0
    crowded: int = 0


@dataclass
class Chosen:
    """The images to label, the least known first.

    Attributes:
        groups: of the images (n,) by what they look like to the network, 0 for that of the first.
        failed: sources that are not images, with their problem.
        training_problem: why the run's training images could not be left out; "" if they were.
    """

    measure: Measure
    rows: Rows = field(default_factory=Rows.none)
    groups: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Counts = field(default_factory=Counts)
    failed: list[Source] = field(default_factory=list)
    training_problem: str = ""

    @property
    def group_count(self) -> int:
        """Number of groups that the images come from."""
        return len(np.unique(self.groups))

    @property
    def training_known(self) -> bool:
        """Whether the run's training images were left out."""
        return not self.training_problem


def choose(recogniser: Recogniser, stream: ImageStream, budget: int, measure: Measure, display: Display) -> Chosen:
    """Up to ``budget`` images of ``stream``. Of copies of an image only the first counts."""
    chosen = Chosen(measure)
    trained: TrainingFiles | None = None
    try:
        trained = training_files(recogniser.recipe.data, _lists_digest(recogniser))
    except DataProblem as problem:
        chosen.training_problem = str(problem)
    known = _known(recogniser)
    pool = _Pool(keep(budget), 0.0 if known is None else SAME * median_distance(known))
    seen: set[bytes] = set()
    with display.bar("scoring", 0) as bar:
        for batch in stream:
            pool.add(_new_rows(recogniser, batch, chosen, seen, trained))
            bar.advance(len(batch.sources))
            bar.reached(chosen.counts.images, stream.found)
    with display.bar("choosing", 1) as bar:
        chosen.rows, found = least_known(pool.rows(), budget, known)
        bar.advance()
    chosen.groups = found.groups
    chosen.counts.similar, chosen.counts.crowded = pool.similar + found.similar, found.crowded
    return chosen


def keep(budget: int) -> int:
    """How many of the least known images are kept to choose from."""
    return max(KEEP * budget, KEEP_AT_LEAST)


def least_known(rows: Rows, budget: int, known: NDArray[np.floating] | None) -> tuple[Rows, Spread]:
    """Up to ``budget`` of the least known ``rows``, the least known first, spread over groups that look alike.

    Args:
        known: features (M, D) of the run's validation images, if it has saved them.
    """
    ordered = rows.least_known(keep(budget))
    found = spread(ordered.features, budget, known)
    return ordered.take(found.rows), found


def _known(recogniser: Recogniser) -> NDArray[np.floating] | None:
    """The saved features of the run's validation images."""
    file = recogniser.base.scores("val")
    return SavedScores.load(file).features if file.exists() else None


def _lists_digest(recogniser: Recogniser) -> str | None:
    """Digest of the lists that the network was trained on; not every recipe has it."""
    result = recogniser.base.result() or recogniser.result
    return result.data_digest or recogniser.recipe.data.lists_digest


def _new_rows(
    recogniser: Recogniser, batch: ImageBatch, chosen: Chosen, seen: set[bytes], trained: TrainingFiles | None
) -> Rows:
    """The batch's images that are neither copies nor training images."""
    counts = chosen.counts
    counts.images += len(batch.sources)
    chosen.failed += [source for source in batch.sources if source.problem]
    paths = [source.path for source in batch.sources if not source.problem]
    new = []
    for index, (path, crop) in enumerate(zip(paths, batch.crops, strict=True)):
        digest = hashlib.blake2b(crop.tobytes(), digest_size=16).digest()  # of the network's input
        if trained is not None and path in trained:
            counts.training += 1
        elif digest in seen:
            counts.copies += 1
        else:
            seen.add(digest)
            new.append(index)
    rows = Rows.none()
    if new:
        rows = _scored(recogniser, [paths[i] for i in new], batch.crops[new], chosen.measure.by)
        finite = np.isfinite(rows.uncertainty) & np.isfinite(rows.features).all(axis=1)
        chosen.failed += [Source(path, "the network's output for it is not finite") for path in rows.paths[~finite]]
        rows = rows.take(finite)
    counts.failed = len(chosen.failed)
    return rows


def _scored(recogniser: Recogniser, paths: list[str], crops: NDArray[np.uint8], by: By) -> Rows:
    scores = recogniser.scores(torch.from_numpy(crops))
    assert scores.logits is not None
    assert scores.features is not None
    said = recogniser.explain(scores, 1)
    gamma = np.full(len(paths), np.nan, np.float32) if said is None else said.reachability.numpy()
    return Rows(
        np.array(paths, object),
        gamma if by == "reachability" else -scores.confidence,
        scores.confidence,
        gamma,
        scores.logits.argmax(axis=1) if said is None else said.nearest[:, 0].numpy(),
        scores.prediction,
        recogniser.unknown(scores),
        np.asarray(scores.features, np.float32),
    )


class _Pool:
    """The ``keep`` least known of all added rows; memory does not grow with the others.

    Attributes:
        radius: rows within it of a less known one are left out, so that thousands of pictures of one scene do not take
            the place of all others; 0 leaves none out.
        similar: number of rows left out for that.
    """

    def __init__(self, keep: int, radius: float = 0.0) -> None:
        self.keep, self.radius = keep, radius
        self.similar = 0
        self.parts: list[Rows] = []

    def add(self, rows: Rows) -> None:
        if len(rows):
            self.parts.append(rows)
            if sum(map(len, self.parts)) > 2 * self.keep:
                self.parts = [self._sorted()]

    def rows(self) -> Rows:
        """The least known first."""
        return self._sorted() if self.parts else Rows.none()

    def _sorted(self) -> Rows:
        names = [f.name for f in fields(Rows)]
        joined = Rows(**{name: np.concatenate([getattr(part, name) for part in self.parts]) for name in names})
        if not self.radius:
            return joined.least_known(self.keep)
        ordered = joined.least_known(len(joined))
        kept = distinct(ordered.features, self.radius, self.keep)
        self.similar += (len(ordered) if len(kept) < self.keep else int(kept[-1]) + 1) - len(kept)
        return ordered.take(kept)
