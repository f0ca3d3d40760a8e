"""The contract of open-set detectors: files in methods/ that train nothing and rescore a finished run.

A detector says how surely a sample belongs to a known class. It works on any trained method
(``oltr run dme --detector energy``); one with a row in the paper's tables names in ``starts_from`` the method it is
used on there, so that ``oltr run openmax`` is that row.

Most detectors define ``confidence``, and ``fit`` if they learn from the training set. A formula of only the logits is
a ``LogitDetector``, which ``oltr export`` can write to a file; one that runs the network is a ``NetworkDetector``.
``fit_detector`` (oltr_cli/planning/detectors.py) gives a detector all that it asks for.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal

import numpy as np
from numpy.typing import NDArray

from oltr_cli.base.added_code import defined_at
from oltr_cli.errors import DataProblem, NotFinite, OltrError, UsageProblem
from oltr_cli.recipe.specs import MethodParams, P
from oltr_cli.runs.scores import SavedScores, are_probabilities

if TYPE_CHECKING:
    from torch import Tensor

    from oltr_cli.method import Method, Scores

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class DetectorSetup(Generic[P]):
    """All that a detector knows when it is built.

    Attributes:
        class_counts: training images of each of the K classes, by label.
        pixel_std: divisor of each channel of an image in 0 … 1 in the network's normalisation.
        params: an instance of the detector's own ``Params``.
    """

    class_counts: tuple[int, ...]
    pixel_std: tuple[float, float, float]
    params: P

    @property
    def num_classes(self) -> int:
        """K, the number of known classes."""
        return len(self.class_counts)

    @property
    def prior(self) -> NDArray[np.float64]:
        """π (K,): the share of each class in the training images."""
        counts = np.asarray(self.class_counts, np.float64)
        return counts / counts.sum()


@dataclass(frozen=True)
class LinearHead:
    """The linear classifier of a method: logits = W h + b for the features h (N, D) that it saves.

    Attributes:
        weight: W (K, D), float64.
        bias: b (K,), float64.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, network: "Method") -> "LinearHead | None":
        """That of a network in eval mode, or None if it has none (see ``Method.linear_head``)."""
        head = network.linear_head()
        return None if head is None else cls(*(part.detach().double().cpu().numpy() for part in head))

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Features (N, D) → logits (N, K)."""
        return features @ self.weight.T + self.bias

    def fits(self, scores: SavedScores) -> bool:
        """Whether these are the logits of the scores, up to the rounding of bfloat16; up to 1,024 samples are tried."""
        assert scores.features is not None
        assert scores.logits is not None
        size = (scores.logits.shape[1], scores.features.shape[1])
        if self.weight.shape != size or not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            return False
        rows = np.arange(0, len(scores), max(1, -(-len(scores) // 1024)))
        logits = scores.logits[rows].astype(np.float64)
        wrong = np.square(self.logits(scores.features[rows]) - logits).sum()
        spread = np.square(logits - logits.mean(axis=0)).sum()
        return bool(wrong <= 0.01 * spread + 1e-4 * np.square(logits).sum())


@dataclass(frozen=True)
class Samples(SavedScores):
    """Saved scores with the arrays that a detector ``reads``: logits (N, K), features (N, D), or both."""

    logits: NDArray[np.floating]
    features: NDArray[np.floating]


class Detector:
    """Base of all detectors; nothing here reads an image.

    Class attributes:
        starts_from: the method it is used on in the paper's row, or None if the paper has no such row.
        family: heading under which ``oltr ls methods`` lists it.
        source: paper that introduced it.
        threshold_rule: how τ is chosen by default. The paper's fixed 0.1 suits only probabilities; for any other
            confidence, τ accepts 95 % of the known validation samples.
        search_space: as for a ``Method``, with keys ``detector.KEY``.
        reads: the arrays of the saved scores that it needs.
        needs_head: whether it needs the method's linear classifier; a method without one is then refused.
        block: number of samples that ``confidence`` gets at a time; ``fit`` may lower it.

    Attributes:
        head: the method's classifier, set before ``fit`` if the detector ``needs_head``.
        parts: the detectors that ``combines`` names, fitted before this one.
    """

    starts_from: ClassVar[str | None] = None
    family: ClassVar[str] = "open-set detector"
    source: ClassVar[str] = ""
    threshold_rule: ClassVar[str] = "id_quantile:0.95"
    search_space: ClassVar[dict[str, str]] = {}
    reads: ClassVar[tuple[Literal["logits", "features"], ...]] = ()
    needs_head: ClassVar[bool] = False
    block: int = 1024
    registered_as: ClassVar[str] = ""  # set when it is loaded by its name

    class Params(MethodParams):
        """None of its own."""

    setup: DetectorSetup  # a detector that defines ``Params`` declares ``setup: DetectorSetup[Params]`` below them
    head: LinearHead
    parts: Sequence["Detector"] = ()

    def __init__(self, setup: DetectorSetup) -> None:
        self.setup = setup

    @classmethod
    def combines(cls, params: Any) -> tuple[str, ...]:
        """Names of other detectors whose confidences it uses, by its parameters; they are fitted as its ``parts``."""
        return ()

    @property
    def name(self) -> str:
        """Its name in messages: that of its file, or of the class where it was not loaded by name."""
        return self.registered_as or type(self).__name__.lower()

    def fit(self, train: SavedScores) -> None:
        """Learn from the scores of the training set, after ``train = self.require(train)``.

        If a detector does not override this method, the training set is not scored.
        """

    def calibrate(self, val: SavedScores) -> None:
        """Learn from the scores of the closed validation split, after ``fit`` and ``val = self.require(val)``.

        If a detector does not override this method, the split is not read.
        """

    @abstractmethod
    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """How surely each of B ≤ ``block`` samples belongs to a known class, (B,); finite, and higher means "known".

        A sample's confidence depends on no other sample.
        """
        raise NotImplementedError

    def judge(self, block: Samples) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        """Prediction (B,) in 0 … K−1 and confidence (B,); the network's prediction unless a detector overrides it."""
        return block.prediction, self.confidence(block)

    def score(self, scores: SavedScores) -> SavedScores:
        """The same N samples with the detector's prediction (N,) and confidence (N,), block by block.

        Raises:
            DataProblem: the scores lack what the detector reads, or are not finite; or the logits are probabilities.
            NotFinite: the detector's confidences are not finite.
            OltrError: its predictions or confidences are not one per sample.
        """
        if "logits" in self.reads and scores.logits is not None and are_probabilities(scores.logits):
            raise DataProblem(
                f"{self.name} reads logits, and these are probabilities (every row is ≥ 0 and sums to 1); a method "
                "that computes probabilities returns their logarithm as logits"
            )
        prediction, confidence = np.empty(len(scores), np.int64), np.empty(len(scores), np.float32)
        for rows in self.blocks(len(scores)):
            block = self.require(scores.take(rows))
            prediction[rows], judged = self._checked(self.judge(block), len(block))
            if not np.isfinite(judged).all():
                raise self.not_finite(f"finite {self._reads}")
            confidence[rows] = judged.clip(-_LARGEST, _LARGEST)
        return replace(scores, prediction=prediction, confidence=confidence)

    def not_finite(self, given: str) -> NotFinite:
        """The error for a confidence that is NaN or infinity."""
        return NotFinite(f"detector {self.name} returns a confidence of NaN or infinity for {given}")

    def _checked(self, judged: Any, samples: int) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        """What ``judge`` returned: a prediction and a confidence for each sample."""
        own_judge = type(self).judge is not Detector.judge
        function = self.judge if own_judge else self.confidence
        if not isinstance(judged, tuple) or len(judged) != 2:
            raise OltrError(f"{defined_at(function)}: returns a {type(judged).__name__}, not (prediction, confidence)")
        for what, values in zip(("predictions", "confidences"), judged, strict=True):
            if not isinstance(values, np.ndarray):
                raise OltrError(f"{defined_at(function)}: returns {what} as a {type(values).__name__}, not an array")
            if what == "predictions" and not np.issubdtype(values.dtype, np.integer):
                raise OltrError(f"{defined_at(function)}: returns {what} of type {values.dtype}, not integers")
            if values.shape != (samples,):
                raise OltrError(f"{defined_at(function)}: returns {what} of shape {values.shape}, not ({samples},)")
        return judged

    def require(self, scores: SavedScores) -> Samples:
        """The same scores, checked to have at least one sample and finite numbers in all that the detector reads.

        Raises:
            DataProblem: they do not.
        """
        for array in self.reads:
            values = getattr(scores, array)
            if values is None:
                raise DataProblem(f"{self.name} reads the {array}, and these scores have none")
            if not all(np.isfinite(values[rows]).all() for rows in self.blocks(len(values))):
                raise DataProblem(f"{self.name}: the {array} contain NaN or infinity")
        if not len(scores):
            raise DataProblem(f"{self.name} reads the {self._reads} of samples, and these scores have no sample")
        return Samples(**vars(scores))

    def blocks(self, samples: int) -> Iterator[slice]:
        """Slices that divide 0 … ``samples`` − 1 into blocks of ``block``."""
        return (slice(start, start + self.block) for start in range(0, samples, self.block))

    def report(self) -> dict[str, Any]:
        """Facts about the fit for readers, as plain numbers and strings; saved in result.json."""
        return {}

    @property
    def _reads(self) -> str:
        return " and ".join(self.reads) or "scores"


class LogitDetector(Detector):
    """A detector whose confidence is a formula of the logits; scoring and ``oltr export`` use the same formula."""

    reads = ("logits",)
    block = 256  # float64 logits of this many samples fit into the processor's cache

    @abstractmethod
    def from_logits(self, logits: "Tensor") -> "Tensor":
        """Confidence (B,) from logits (B, K), by tensor operations that ``torch.export`` can capture.

        The logits are float64 for saved scores and float32 in an exported file.
        """
        raise NotImplementedError

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        import torch

        confidence = self.from_logits(torch.from_numpy(block.logits.astype(np.float64)))
        if not isinstance(confidence, torch.Tensor):
            raise OltrError(f"{defined_at(self.from_logits)}: returns a {type(confidence).__name__}, not a tensor")
        return confidence.numpy()


class NetworkDetector(Detector):
    """A detector that has to run the network, because saved scores are not enough (ODIN)."""

    def confidence(self, block: Samples) -> NDArray[np.floating]:
        """Saved scores are not enough.

        Raises:
            UsageProblem: always.
        """
        raise UsageProblem(f"{self.name} needs the images and the network; saved scores are not enough")

    @abstractmethod
    def score_images(self, network: "Method", images: "Tensor") -> "Scores":
        """Scores of normalised images (B, 3, H, W); called with gradients off, may turn them on inside."""
        raise NotImplementedError

    def candidates(self) -> Sequence["NetworkDetector"]:
        """Detectors among which the open validation samples choose, if the parameters request it; otherwise none.

        The one with the lowest detection error at TPR 95 % on ``val`` and ``open_val`` is used, the first of several.
        """
        return ()
