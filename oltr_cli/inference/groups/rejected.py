"""The images that a run rejects, in groups, each with the known class that is nearest to it."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem
from oltr_cli.inference.groups.cluster import ALONE, check_number, cluster, unit
from oltr_cli.inference.image_paths import Source
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.scores import NEW_CLASS, SavedScores


@dataclass(frozen=True)
class Group:
    """Images that look alike, the most typical first.

    Attributes:
        number: from 1, for the largest group.
        nearest: name of the known class whose mean feature is nearest to the group's, by ``cosine``; "" and NaN where
            the run has no saved features of its classes.
    """

    number: int
    paths: list[str]
    nearest: str
    cosine: float

    @property
    def name(self) -> str:
        """What the group is called until somebody names it."""
        return f"group-{self.number:02}"


@dataclass
class Rejected:
    """What became of all images.

    Attributes:
        alone: paths of rejected images that are in no group; ``copies``: those that another one looks the same as.
        known: number of accepted images.
        failed: sources that are not images, with their problem.
    """

    groups: list[Group] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    images: int = 0
    known: int = 0
    copies: int = 0
    failed: list[Source] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Rejected images, without copies."""
        return len(self.alone) + sum(len(group.paths) for group in self.groups)


def group_rejected(recogniser: Recogniser, stream: ImageStream, least: int, display: Display) -> Rejected:
    """The groups of at least ``least`` images among those of ``stream`` that the run rejects.

    Raises:
        DataProblem: the run's saved features are damaged.
        UsageProblem: too many images are rejected.
    """
    found = Rejected()
    paths, features = _collect(recogniser, stream, found, display)
    if not paths:
        return found
    groups = cluster(features, least)
    found.alone = [path for path, group in zip(paths, groups, strict=True) if group == ALONE]
    known = _class_means(recogniser)
    x = unit(features)
    for number in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == number)
        mean = unit(x[members].mean(axis=0)[None])[0]
        typical = members[np.argsort(-(x[members] @ mean), kind="stable")]
        nearest, cosine = "", float("nan")
        if known is not None:
            cosines = known @ mean
            nearest, cosine = recogniser.class_names[int(cosines.argmax())], float(cosines.max())
        found.groups.append(Group(number + 1, [paths[i] for i in typical], nearest, cosine))
    return found


def _collect(
    recogniser: Recogniser, stream: ImageStream, found: Rejected, display: Display
) -> tuple[list[str], NDArray[np.float32]]:
    """Paths and features of the rejected images, of those that look the same only the first."""
    seen: set[bytes] = set()
    paths: list[str] = []
    features: list[NDArray[np.float32]] = []
    with display.bar("predicting", 0) as bar:
        for batch in stream:
            found.images += len(batch.sources)
            found.failed += [source for source in batch.sources if source.problem]
            good = [source.path for source in batch.sources if not source.problem]
            if good:
                scores = recogniser.scores(torch.from_numpy(batch.crops))
                assert scores.features is not None
                finite = np.isfinite(scores.confidence) & np.isfinite(scores.features).all(axis=1)
                found.failed += [
                    Source(good[i], "the network's output for it is not finite") for i in np.flatnonzero(~finite)
                ]
                unknown = recogniser.unknown(scores)
                found.known += int((~unknown & finite).sum())
                new = []
                for index in np.flatnonzero(unknown & finite):
                    digest = hashlib.blake2b(batch.crops[index].tobytes(), digest_size=16).digest()
                    if digest in seen:
                        found.copies += 1
                    else:
                        seen.add(digest)
                        new.append(index)
                paths += [good[i] for i in new]
                check_number(len(paths))  # now, not hours later
                features.append(np.asarray(scores.features[new], np.float32))
            bar.advance(len(batch.sources))
            bar.reached(found.images, stream.found)
    return paths, np.concatenate(features) if features else np.empty((0, 0), np.float32)


def _class_means(recogniser: Recogniser) -> NDArray[np.float64] | None:
    """Mean features (K, D) of the known classes at length 1: of training images where they were scored, else of
    validation; 0 for a class without any. None without saved features."""
    base, classes = recogniser.base, len(recogniser.class_names)
    files = [base.scores("train")] if base.scores("train").exists() else [base.scores("val"), base.scores(NEW_CLASS)]
    sums: torch.Tensor | None = None
    for file in files:
        if not file.exists():
            continue
        scores = SavedScores.load(file)
        if scores.features is None:
            continue
        if scores.labels.max(initial=-1) >= classes:
            raise DataProblem(f"{file}: has a label that is none of the run's {classes} classes")
        if sums is None:
            sums = torch.zeros(classes, scores.features.shape[1], dtype=torch.float64)
        sums.index_add_(0, torch.from_numpy(scores.labels), torch.from_numpy(unit(scores.features)))
    return None if sums is None else unit(sums.numpy())
