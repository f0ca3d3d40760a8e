"""What to label next: the images that a finished run knows least, no two nearly the same."""

import hashlib
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem
from oltr_cli.inference.active.diversity import cap, diverse
from oltr_cli.inference.active.measure import By, Measure
from oltr_cli.inference.active.training_images import TrainingFiles, training_files
from oltr_cli.inference.image_paths import Source
from oltr_cli.inference.image_stream import ImageBatch, ImageStream
from oltr_cli.inference.recogniser import Recogniser

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

    def take(self, which: NDArray) -> "Rows":
        """The rows that an index or a mask names."""
        return Rows(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


@dataclass
class Counts:
    """Numbers of images: ``images`` counts all, the others those that were left out.

    ``copies`` look the same to the network. ``similar`` and ``crowded`` are as unknown as the chosen ones, but too
    close to one of them, or nearest to a class that has its share of the budget.
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
        failed: sources that are not images, with their problem.
        training_problem: why the run's training images could not be left out; "" if they were.
    """

    measure: Measure
    rows: Rows = field(default_factory=Rows.none)
    counts: Counts = field(default_factory=Counts)
    failed: list[Source] = field(default_factory=list)
    training_problem: str = ""

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
    pool = _Pool(max(KEEP * budget, KEEP_AT_LEAST))
    seen: set[bytes] = set()
    with display.bar("scoring", 0) as bar:
        for batch in stream:
            pool.add(_new_rows(recogniser, batch, chosen, seen, trained))
            bar.advance(len(batch.sources))
            bar.reached(chosen.counts.images, stream.found)
    rows = pool.rows()
    with display.bar("choosing", min(budget, len(rows))) as bar:
        picked = diverse(rows.features, rows.nearest, budget, bar.advance)
    # Images that are known better than the last chosen one were not passed over, unless there was room for them.
    there_was_room = len(picked) < budget
    passed_over = np.setdiff1d(np.arange(len(rows) if there_was_room else picked[-1] + 1), picked)
    if not there_was_room:
        classes, taken = np.unique(rows.nearest[picked], return_counts=True)
        full = classes[taken >= cap(rows.nearest, budget)]
        chosen.counts.crowded = int(np.isin(rows.nearest[passed_over], full).sum())
    chosen.counts.similar = len(passed_over) - chosen.counts.crowded
    chosen.rows = rows.take(picked)
    return chosen


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
    """The ``keep`` least known of all added rows; memory does not grow with the others."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.parts: list[Rows] = []

    def add(self, rows: Rows) -> None:
        if len(rows):
            self.parts.append(rows)
            if sum(map(len, self.parts)) > 2 * self.keep:
                self.parts = [self._sorted()]

    def rows(self) -> Rows:
        """The least known first, of equal ones the one that came first."""
        return self._sorted() if self.parts else Rows.none()

    def _sorted(self) -> Rows:
        names = [f.name for f in fields(Rows)]
        joined = Rows(**{name: np.concatenate([getattr(part, name) for part in self.parts]) for name in names})
        return joined.take(np.argsort(-joined.uncertainty, kind="stable")[: self.keep])
