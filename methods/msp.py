"""MSP: confidence = the largest softmax probability, the default rule of the paper's rows.

    confidence = max_c softmax(f(x) / T)_c

Source: Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
Networks", ICLR 2017. There T = 1; another T is a parameter (temperature scaling, Guo et al. 2017).
The paper's tables reject if confidence < 0.1. Deviation: none known.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from oltr_cli.detector import DetectorSetup, LogitDetector, MethodParams

if TYPE_CHECKING:
    from torch import Tensor


class MSP(LogitDetector):
    """Maximum softmax probability of the saved logits, 1/K … 1."""

    source = "Hendrycks & Gimpel, ICLR 2017"
    threshold_rule = "fixed:0.1"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "0.1:1000:log"}

    class Params(MethodParams):
        """The only parameter."""

        temperature: float = Field(1.0, gt=0, description="T, divisor of the logits")

    setup: DetectorSetup[Params]

    def from_logits(self, logits: "Tensor") -> "Tensor":
        return (logits / self.setup.params.temperature).softmax(dim=1).amax(dim=1)
