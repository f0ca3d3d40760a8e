"""The contract of open-set detectors: files in methods/ that train nothing and judge a finished run's scores anew.

A detector says how surely a sample belongs to a known class. It goes on any trained method
(``oltr run dme --detector energy``); one that is a row of the paper names in ``starts_from`` the method which it stands
on there, so that ``oltr run openmax`` is that row.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from oltr_cli.recipe.specs import MethodParams
from oltr_cli.runs.scores import SavedScores

if TYPE_CHECKING:
    from torch import Tensor

    from oltr_cli.method import Method, Scores


@dataclass(frozen=True)
class DetectorSetup:
    """All that a detector may know when it is built.

    Attributes:
        class_counts: training images of each of the K classes, by label.
        pixel_std: what each channel of an image in 0 … 1 was divided by on its way into the network.
        params: an instance of the detector's own ``Params``.
    """

    class_counts: tuple[int, ...]
    pixel_std: tuple[float, float, float]
    params: MethodParams

    @property
    def num_classes(self) -> int:
        """K, the number of known classes."""
        return len(self.class_counts)


class Detector:
    """Base of all detectors; nothing here reads an image.

    Class attributes:
        starts_from: the method under it in the paper's row, or None where the paper has no such row.
        family: heading under which ``oltr ls methods`` lists it.
        source: paper that introduced it.
        threshold_rule: how τ is chosen where nobody says. The paper's fixed 0.1 suits probabilities alone; any other
            confidence accepts 95 % of the known validation samples.
        search_space: as of a ``Method``, with keys ``detector.KEY``.
    """

    starts_from: ClassVar[str | None] = None
    family: ClassVar[str] = "open-set detector"
    source: ClassVar[str] = ""
    threshold_rule: ClassVar[str] = "id_quantile:0.95"
    search_space: ClassVar[dict[str, str]] = {}

    class Params(MethodParams):
        """None of its own."""

    def __init__(self, setup: DetectorSetup) -> None:
        self.setup = setup

    def fit(self, train: SavedScores) -> None:
        """Learn from the scores of the training set: logits (N, K), features (N, D), labels (N,).

        A detector that leaves this method alone spares its user the pass over the training set.
        """

    @abstractmethod
    def score(self, scores: SavedScores) -> SavedScores:
        """The same samples with a prediction (N,) in 0 … K−1 and a confidence (N,) of the detector's own.

        A sample's outcome depends on no other sample. Confidences are finite, and higher means "known".
        """
        raise NotImplementedError

    def report(self) -> dict[str, Any]:
        """What a reader should know of the fit, as plain numbers and strings; kept in result.json."""
        return {}


class NetworkDetector(Detector):
    """A detector that has to run the network itself, because saved scores do not say enough (ODIN)."""

    @abstractmethod
    def score_images(self, network: "Method", images: "Tensor") -> "Scores":
        """Scores of normalised images (B, 3, H, W); called where gradients are off, and may turn them on inside."""
        raise NotImplementedError

    def candidates(self) -> Sequence["NetworkDetector"]:
        """Detectors among which the open validation samples choose, when its parameters ask for that; else none.

        The one with the lowest detection error at TPR 95 % on ``val`` and ``open_val`` is taken, the first of several.
        """
        return ()
