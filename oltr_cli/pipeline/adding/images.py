"""Images that are to become a class of a finished run: each one checked, and what the run makes of it."""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.text import counted, some, visible
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.active.training_images import training_files
from oltr_cli.inference.image_paths import Source, image_sources
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.planning.which_run import parent_of
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run

DIGITS = 16  # hex digits of SHA-256 that identify a file


@dataclass(frozen=True)
class ClassFiles:
    """Image files without copies, in order, and what identifies each of them."""

    paths: list[str]
    digests: list[str]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Seen:
    """What the run makes of n images: features (n, D), and which of them (n,) it accepts as some class."""

    features: Tensor
    accepted: NDArray[np.bool_]


def class_files(paths: Sequence[str], name: str) -> ClassFiles:
    """The image files that ``paths`` name, as ``oltr predict`` takes them; of a CSV those with the label ``name``.

    Raises:
        DataProblem: one cannot be read.
        UsageProblem: two have the same bytes, or there are none.
    """
    sources: list[Source] = []
    for path in paths:
        is_csv = path.lower().endswith(".csv") and Path(path).is_file()
        sources += image_sources(_labelled(Path(path), name) if is_csv else [path])
    _refuse(sources, len(sources))
    if not sources:
        raise UsageProblem("no image is given")
    found: dict[str, str] = {}
    for source in sources:
        try:
            with Path(source.path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
        except OSError as error:
            raise DataProblem(f"{visible(source.path)}: cannot be read ({error.strerror})") from None
        if digest in found:
            first, again = found[digest], source.path
            said = (
                f"{visible(again)}: is given twice"
                if first == again
                else f"{visible(again)}: is {visible(first)} again"
            )
            raise UsageProblem(f"{said}; give each image once")
        found[digest] = source.path
    return ClassFiles(list(found.values()), list(found))


def check_not_trained_on(files: ClassFiles, recogniser: Recogniser) -> str:
    """Check that no image is one that the run, or one that it starts from, has learnt as another class.

    Returns:
        why its training images cannot be compared, "" if they were.
    Raises:
        UsageProblem: one is; both are named.
    """
    before: dict[str, str] = {}  # digest of an image → the class that was added of it
    run: Run | None = recogniser.base
    while run is not None:
        added = recorded_recipe(run.path).get("added", {})
        before |= dict.fromkeys(added.get("digests", ()), added.get("name", ""))
        run = parent_of(run)
    for path, digest in zip(files.paths, files.digests, strict=True):
        if digest in before:
            raise UsageProblem(
                f"{visible(path)}: the run knows it as an image of class '{before[digest]}'; leave it out"
            )
    digest_of_lists = (recogniser.base.result() or recogniser.result).data_digest
    try:
        trained = training_files(recogniser.recipe.data, digest_of_lists)
    except DataProblem as problem:
        return str(problem)
    for path in files.paths:
        if (known := trained.same_as(path)) is not None:
            raise UsageProblem(
                f"{visible(path)}: the run was trained on this image as one of another class ({visible(str(known))}); "
                "leave it out"
            )
    return ""


def seen_by(recogniser: Recogniser, files: ClassFiles, batch_size: int, workers: int) -> Seen:
    """What the run makes of the images.

    Raises:
        DataProblem: one cannot be decoded, or the network's output for it is not finite.
    """
    features, known, failed = [], [], []
    with ImageStream(map(Source, files.paths), recogniser.recipe.data, batch_size, workers) as stream:
        for batch in stream:
            failed += [source for source in batch.sources if source.problem]
            if failed:
                continue
            scores = recogniser.scores(torch.from_numpy(batch.crops))
            assert scores.features is not None
            features.append(np.asarray(scores.features, np.float32))
            known.append(~recogniser.unknown(scores))
    _refuse(failed, len(files))
    joined = np.concatenate(features)
    if len(wrong := np.flatnonzero(~np.isfinite(joined).all(axis=1))):
        raise DataProblem(f"{visible(files.paths[wrong[0]])}: the network's output for it is not finite; leave it out")
    return Seen(torch.from_numpy(joined), np.concatenate(known))


def _labelled(file: Path, name: str) -> list[str]:
    """The images with the label ``name`` in a CSV ``path,label``, as ``oltr data groups --csv`` writes it."""
    labels: Counter[str] = Counter()
    found = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            for row in csv.reader(text):
                if len(row) >= 2 and [cell.strip() for cell in row[:2]] != ["path", "label"]:
                    labels[row[1].strip()] += 1
                    if row[1].strip() == name:
                        found.append(str(file.parent / row[0].strip()))
    except (OSError, ValueError, csv.Error) as error:
        raise DataProblem(f"{visible(str(file))}: cannot be read as CSV ({error})") from None
    if not found:
        there = f"; its labels: {some([visible(label) for label in labels])}" if labels else ""
        raise UsageProblem(
            f"{visible(str(file))}: no line path,label has the label '{visible(name)}'; write the name in place of "
            f"that of its group{there}"
        )
    return found


def _refuse(sources: Sequence[Source], total: int) -> None:
    """Report images that cannot be used: a class of fewer than were given would be made without a word."""
    failed = [source for source in sources if source.problem]
    if failed:
        more = f" ({len(failed):,} of {counted(total, 'image')} cannot be used)" if len(failed) > 1 else ""
        raise DataProblem(f"{visible(failed[0].path)}: {visible(failed[0].problem)}; leave it out or mend it{more}")
