"""Energy: confidence = negative free energy, a soft maximum of the logits.

    confidence = −E(x) = T · log Σ_c exp(f(x)_c / T)

Source: Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020; Eq. 4, used as it is, T = 1.
Deviation: none known; the fine-tuning with outliers of Sec. 3.3 is not part of it.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from oltr_cli.detector import DetectorSetup, LogitDetector, MethodParams

if TYPE_CHECKING:
    from torch import Tensor


class Energy(LogitDetector):
    """T · logsumexp of the saved logits, on the logits' scale; at least the largest of them."""

    source = "Liu et al., NeurIPS 2020"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "0.1:100:log"}

    class Params(MethodParams):
        """The only parameter."""

        temperature: float = Field(1.0, gt=0, description="T of the soft maximum; towards 0 it becomes maxlogit")

    setup: DetectorSetup[Params]

    def from_logits(self, logits: "Tensor") -> "Tensor":
        t = self.setup.params.temperature
        return t * (logits / t).logsumexp(dim=1)
