"""Verdicts of a finished run on any images, batch by batch."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.base.text import shortest
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.image_stream import ImageBatch
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.wider import Taxon, Wider, WiderAnswers
from oltr_cli.method import Method
from oltr_cli.runs.scores import SavedScores

UNKNOWN = "unknown"
EXPLAINED = 3  # classes that an explanation names

Ranked = list[tuple[str, float]]  # class name and a number, the most important first


@dataclass(frozen=True)
class Reasons:
    """An ``Explanation`` of one image, with names; ``infused`` is None without a memory."""

    reachability: float
    nearest: Ranked
    infused: Ranked | None


@dataclass(frozen=True)
class Verdict:
    """One row of the answer.

    Attributes:
        error: what was wrong with the image; then everything else is empty.
        label: the class, or ``UNKNOWN`` if the confidence is below τ; ``unknown`` tells it from a class of that name.
        top: the likeliest classes with the network's softmax probability; the first one is the prediction.
        wider: label set and taxon, if they were asked for; also of an image that is unknown. ``label_set`` and
            ``taxon`` are short for its parts.
    """

    path: str
    error: str = ""
    label: str = ""
    unknown: bool = False
    confidence: float = 0.0
    top: Ranked = field(default_factory=list)
    reasons: Reasons | None = None
    wider: Wider | None = None

    @property
    def label_set(self) -> list[str] | None:
        """Classes that the image may belong to, those with the highest score first; None if not asked for."""
        return None if self.wider is None else self.wider.label_set

    @property
    def taxon(self) -> Taxon | None:
        """The most specific name of the taxonomy that is sure enough; None if not asked for."""
        return None if self.wider is None else self.wider.taxon


@dataclass
class Totals:
    """How many images there were so far."""

    images: int = 0
    known: int = 0
    unknown: int = 0
    failed: int = 0

    def add(self, verdicts: list[Verdict]) -> None:
        self.images += len(verdicts)
        self.failed += sum(bool(v.error) for v in verdicts)
        self.unknown += sum(v.unknown for v in verdicts)
        self.known = self.images - self.failed - self.unknown


def check_explains(recogniser: Recogniser) -> None:
    """Refuse ``--explain`` for a method that has no explanations.

    Raises:
        UsageProblem: it has no centroids.
    """
    if type(recogniser.network).explain is Method.explain:
        raise UsageProblem(
            f"--explain: {recogniser.base.method} has no centroids and no memory to explain a verdict; dme has"
        )


def judge(
    recogniser: Recogniser,
    batch: ImageBatch,
    top_k: int = 1,
    explain: bool = False,
    wider: WiderAnswers | None = None,
    padded: int | None = None,
) -> list[Verdict]:
    """A verdict on each source of ``batch``, in order.

    Args:
        padded: images that the network always gets at once; black ones fill up. Kernels sum in another order for
            another number of images, so without it the last digits depend on how images come together.
    """
    if not len(batch.crops):
        return [Verdict(source.path, source.problem) for source in batch.sources]
    paths = [source.path for source in batch.sources if not source.problem]
    crops = batch.crops
    if padded is not None and len(crops) < padded:
        crops = np.concatenate([crops, np.zeros((padded - len(crops), *crops.shape[1:]), crops.dtype)])
    scores = recogniser.scores(torch.from_numpy(crops)).take(slice(len(paths)))
    judged = iter(_judged(recogniser, paths, scores, top_k, explain, wider))
    return [Verdict(one.path, one.problem) if one.problem else next(judged) for one in batch.sources]


def _judged(
    recogniser: Recogniser,
    paths: list[str],
    scores: SavedScores,
    top_k: int,
    explain: bool,
    wider: WiderAnswers | None,
) -> list[Verdict]:
    names, unknown = recogniser.class_names, recogniser.unknown(scores)
    labels, probabilities = _top(scores, min(top_k, len(names)))
    reasons = _reasons(recogniser, scores) if explain else [None] * len(paths)
    answers = [None] * len(paths) if wider is None else wider.answers(scores)
    rows = zip(paths, unknown, scores.confidence, labels, probabilities, reasons, answers, strict=True)
    return [
        Verdict(
            path,
            label=UNKNOWN if rejected else names[best[0]],
            unknown=bool(rejected),
            confidence=shortest(confidence),
            top=_ranked(names, best, shares),
            reasons=why,
            wider=answer,
        )
        if np.isfinite(confidence)
        else Verdict(path, f"its confidence is {confidence}")
        for path, rejected, confidence, best, shares, why, answer in rows
    ]


def _top(scores: SavedScores, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels and softmax probabilities (B, k), falling, but the prediction first: a detector may have another one."""
    assert scores.logits is not None
    logits = np.asarray(scores.logits, np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    order = logits.copy()
    order[np.arange(len(order)), scores.prediction] = np.inf
    labels = np.argsort(-order, axis=1, kind="stable")[:, :k]
    return labels, np.take_along_axis(shares, labels, axis=1).astype(np.float32)


def _reasons(recogniser: Recogniser, scores: SavedScores) -> list[Reasons | None]:
    said = recogniser.explain(scores, EXPLAINED)
    if said is None:
        return [None] * len(scores)
    names = recogniser.class_names
    near, far, gamma = (part.numpy() for part in (said.nearest, said.distances, said.reachability))
    nearest = [_ranked(names, labels, values) for labels, values in zip(near, far, strict=True)]
    infused: list[Ranked | None] = [None] * len(scores)
    if said.infused is not None and said.coefficients is not None:
        held = zip(said.infused.numpy(), said.coefficients.numpy(), strict=True)
        infused = [_ranked(names, labels, values) for labels, values in held]
    return [Reasons(shortest(g), n, i) for g, n, i in zip(gamma, nearest, infused, strict=True)]


def _ranked(names: list[str], labels: NDArray[np.int64], values: NDArray[np.float32]) -> Ranked:
    return [(names[label], shortest(value)) for label, value in zip(labels, values, strict=True)]
