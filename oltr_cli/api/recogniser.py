"""``oltr_cli.Recogniser``: a finished run for images, whether in files or in memory.

It is the code behind ``oltr predict`` and ``oltr embed``, with the same results; torch is imported by ``load``.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, NotFinite, UsageProblem

if TYPE_CHECKING:
    from oltr_cli.api.images import ImageLike
    from oltr_cli.inference import recogniser
    from oltr_cli.inference.image_stream import ImageBatch
    from oltr_cli.inference.verdicts import Verdict
    from oltr_cli.inference.wider import WiderAnswers
    from oltr_cli.protocol.evaluate import Evaluation
    from oltr_cli.protocol.label_sets import LabelSets, Score
    from oltr_cli.runs.scores import SavedScores

BATCH = 64  # images; as for oltr predict, since sums over another number may differ in the last bit


class Recogniser:
    """Takes images and says of each which class it shows, or that it shows none of them.

    Everywhere, ``images`` is a list or any other iterable of paths, Pillow images and arrays, uint8 (H, W, 3) RGB or
    (H, W) grey. ``workers`` processes decode files; with 0 this process does it.
    """

    def __init__(self, loaded: "recogniser.Recogniser") -> None:
        self._loaded = loaded
        self._sets: LabelSets | None = None  # those of the last call, which took reading a file

    @classmethod
    def load(
        cls,
        run: str | os.PathLike[str],
        *,
        device: str | None = None,
        threshold: float | str | None = None,
        own_confidence: bool = False,
    ) -> "Recogniser":
        """A finished run by its folder, its name or a part of its name, or a folder made by ``oltr export``.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None takes the fastest available.
            threshold: τ, or the rule that chooses it, as for ``oltr predict --threshold``.
            own_confidence: the run's own confidence, although ``oltr tune detector`` chose a detector for it.

        Raises:
            UsageProblem: no such run, it is not finished, or there is no such rule or device.
            DataProblem: the run's folder lacks files, or some are damaged.
        """
        from oltr_cli.base.machine import ready_device
        from oltr_cli.inference.recogniser import Recogniser as Loaded

        name = _text("run", run)
        if device is not None and not isinstance(device, str):
            raise UsageProblem(f"device: {device!r} is not text, such as 'cpu'")
        return cls(Loaded.load(name, ready_device(device), threshold, not own_confidence))

    @property
    def name(self) -> str:
        """DATASET/METHOD/HASH-sSEED."""
        return self._loaded.run.name

    @property
    def class_names(self) -> list[str]:
        """K names by label."""
        return list(self._loaded.class_names)

    @property
    def class_counts(self) -> list[int]:
        """Training images of each of the K classes, by label."""
        return list(self._loaded.class_counts)

    @property
    def threshold(self) -> float:
        """τ: an image of a lower confidence is unknown. If each class has its own, their rule's one τ for all."""
        return self._loaded.threshold

    @property
    def threshold_rule(self) -> str:
        """How τ was chosen, in words."""
        return self._loaded.rule

    def predict(
        self,
        images: "Iterable[ImageLike]",
        *,
        top_k: int = 1,
        explain: bool = False,
        coverage: float | None = None,
        set_score: "Score | None" = None,
        class_weight: float | None = None,
        taxonomy: str | os.PathLike[str] | None = None,
        at_least: float | None = None,
        batch_size: int = BATCH,
        workers: int = 0,
    ) -> "list[Verdict]":
        """A verdict on each image, in order, as ``oltr predict`` gives them.

        An image that cannot be read has a verdict with ``error``. For more images than fit in memory see ``stream``.

        Args:
            top_k: how many of the likeliest classes ``top`` names.
            explain: with ``reasons``, for methods that have them (dme).
            coverage: with ``label_set``, made so that this share of images of known classes have theirs in it;
                calibrated on the run's validation scores.
            set_score: ``softmax`` or ``pas``; ``class_weight``: from 0, one threshold for all classes, to 1, one for
                each; None takes ``softmax`` and 0.5. Both are for ``coverage``.
            taxonomy: with ``taxon``, a name of this file, CSV; ``at_least``: the probability that it must reach, 0.9
                if None.

        Raises:
            UsageProblem: an item is no image (its position is named), the method has no explanations, an argument is
                out of range, or an exported folder has no scores for ``coverage``.
            DataProblem: the taxonomy or the validation scores cannot be used.
        """
        return list(
            self.stream(
                images,
                top_k=top_k,
                explain=explain,
                coverage=coverage,
                set_score=set_score,
                class_weight=class_weight,
                taxonomy=taxonomy,
                at_least=at_least,
                batch_size=batch_size,
                workers=workers,
            )
        )

    def stream(
        self,
        images: "Iterable[ImageLike]",
        *,
        top_k: int = 1,
        explain: bool = False,
        coverage: float | None = None,
        set_score: "Score | None" = None,
        class_weight: float | None = None,
        taxonomy: str | os.PathLike[str] | None = None,
        at_least: float | None = None,
        batch_size: int = BATCH,
        workers: int = 0,
    ) -> "Iterator[Verdict]":
        """``predict`` for images without end: verdicts batch by batch, with only a few batches in memory."""
        from oltr_cli.inference.verdicts import check_explains, judge

        _check_whole("top_k", top_k, 1)
        if explain:
            check_explains(self._loaded)
        wider = self._wider(coverage, set_score, class_weight, taxonomy, at_least)
        batches = self._batches(images, batch_size, workers)
        return (one for batch in batches for one in judge(self._loaded, batch, top_k, explain, wider))

    def embed(self, images: "Iterable[ImageLike]", *, batch_size: int = BATCH, workers: int = 0) -> NDArray[np.float32]:
        """Features (N, D) of the run's network, as ``oltr embed`` writes them; of a detector's run of the one under it.

        Raises:
            UsageProblem: an item is no image.
            DataProblem: an image cannot be read; the message names it.
            NotFinite: features contain NaN or infinity.
        """
        import torch

        from oltr_cli.inference.embedder import Embedder

        features = Embedder.of(self._loaded).features
        rows = [features(torch.from_numpy(crops)) for crops in self._readable(images, batch_size, workers)]
        made = np.concatenate(rows, dtype=np.float32) if rows else np.empty((0, self._feature_dim), np.float32)
        if not np.isfinite(made).all():
            raise NotFinite(f"{self.name}: features contain NaN or infinity")
        return made

    def scores(
        self,
        images: "Iterable[ImageLike]",
        labels: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        batch_size: int = BATCH,
        workers: int = 0,
    ) -> "SavedScores":
        """Prediction, confidence, logits and features of images, as a run saves them of its splits.

        Args:
            labels: class of each image (N,), −1 for one of no known class; None if they are not known.

        Raises:
            UsageProblem: an item is no image, or the labels do not fit.
            DataProblem: an image cannot be read; the message names it.
        """
        import torch

        from oltr_cli.runs.scores import joined

        parts = [self._loaded.scores(torch.from_numpy(crops)) for crops in self._readable(images, batch_size, workers)]
        if not parts:
            raise UsageProblem("images: the list is empty")
        return joined(parts, None if labels is None else self._labels(labels, sum(map(len, parts))))

    def evaluate(self, scores: "SavedScores", *, shots: str = "paper") -> "Evaluation":
        """All metrics of scores with labels at this recogniser's τ; shot groups by its training images.

        Args:
            scores: of ``scores(images, labels)``; −1 = open.
            shots: definition of the shot groups, ``paper`` or ``code``.
        """
        from oltr_cli.api.examination import examine_mixed
        from oltr_cli.runs.scores import SavedScores

        if not isinstance(scores, SavedScores):
            raise UsageProblem(
                f"scores: {type(scores).__name__} is not what Recogniser.scores gives; oltr_cli.evaluate takes others"
            )
        examined = examine_mixed(scores, self.class_counts, self._loaded.chosen, shots, "scores")
        return examined.evaluation.model_copy(update={"run": self.name})

    @property
    def _feature_dim(self) -> int:
        return int(self._loaded.network.backbone.feature_dim)

    def _wider(
        self,
        coverage: float | None,
        score: "Score | None",
        class_weight: float | None,
        taxonomy: str | os.PathLike[str] | None,
        at_least: float | None,
    ) -> "WiderAnswers | None":
        """What label sets and taxa come from; the same question again reads no file but the taxonomy's."""
        from oltr_cli.inference.wider import WiderAnswers
        from oltr_cli.protocol.label_sets import SetRule

        if coverage is None and (score is not None or class_weight is not None):
            raise UsageProblem("set_score and class_weight are for label sets: give coverage, such as 0.9")
        rule = None if coverage is None else SetRule.of(coverage, score, class_weight)
        file = None if taxonomy is None else Path(_text("taxonomy", taxonomy))
        asked = WiderAnswers.of(self._loaded, rule, file, at_least, self._sets)
        if asked is not None and asked.sets is not None:
            self._sets = asked.sets
        return asked

    def _batches(self, images: "Iterable[ImageLike]", size: int, workers: int) -> "Iterator[ImageBatch]":
        from oltr_cli.api.images import sources
        from oltr_cli.inference.image_stream import image_batches

        _check_whole("batch_size", size, 1)
        _check_whole("workers", workers, 0)
        return image_batches(sources(images), self._loaded.recipe.data, size, workers)

    def _readable(self, images: "Iterable[ImageLike]", size: int, workers: int) -> Iterator[NDArray[np.uint8]]:
        """Crops (n, 3, S, S) of each batch; an image that cannot be read ends it."""
        at = 0
        for batch in self._batches(images, size, workers):
            for position, source in enumerate(batch.sources, at):
                if source.problem:
                    told = f"images[{position}]"
                    named = told if source.path == told else f"{told}, {source.path}"
                    raise DataProblem(f"{named}: {source.problem}")
            at += len(batch.sources)
            yield batch.crops

    def _labels(self, labels: Sequence[int] | NDArray[np.integer], images: int) -> NDArray[np.int64]:
        try:
            given = np.asarray(labels)
        except ValueError:  # lists of several lengths
            raise UsageProblem("labels: are not a list of numbers; give one whole number for each image") from None
        if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) != images:
            raise UsageProblem(
                f"labels: {given.dtype} {given.shape} for {counted(images, 'image')}; give one whole number for each"
            )
        if len(given) and not -1 <= given.min() <= given.max() < len(self.class_names):
            raise UsageProblem(f"labels: must be from −1 (open) to {len(self.class_names) - 1}")
        return given.astype(np.int64)

    def __repr__(self) -> str:
        return f"<Recogniser {self.name}, {counted(len(self.class_names), 'class')}, τ = {self.threshold:.4g}>"


def _check_whole(name: str, value: int, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise UsageProblem(f"{name}={value!r}: must be a whole number, {least} or more")


def _text(name: str, given: str | os.PathLike[str]) -> str:
    """The text of a path or a name, which may come from anywhere.

    Raises:
        UsageProblem: it is something else, bytes, or a path without a letter.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(text, str):
        raise UsageProblem(f"{name}: {text!r} is {type(text).__name__}; give text or a path")
    if not text and name != "run":  # of which the commands' own message says more
        raise UsageProblem(f"{name}: the path is empty")
    return text
