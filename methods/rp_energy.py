"""RP-Energy: the energy, less where the softmax points along the training set's class prior.

    confidence = T · log Σ_c exp(f(x)_c / T) · (1 − cos(p, π)),  p = softmax f(x),  π_c = N_c / N

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class Prior", ICML 2023; the form of
their published code, T = 1 (p has no temperature).
Deviation: none known. The factor lowers an energy above 0 and raises one below 0, as the source's does: logits whose
log-sum-exp is often negative do not suit it.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from oltr_cli.detector import DetectorSetup, LogitDetector, MethodParams

if TYPE_CHECKING:
    from torch import Tensor


class RPEnergy(LogitDetector):
    """Energy times a factor in 0 … 1, on the logits' scale."""

    source = "Jiang et al., ICML 2023"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "0.1:100:log"}

    class Params(MethodParams):
        """The only parameter."""

        temperature: float = Field(1.0, gt=0, description="T of the energy")

    setup: DetectorSetup[Params]

    def from_logits(self, logits: "Tensor") -> "Tensor":
        t = self.setup.params.temperature
        prior = logits.new_tensor(self.setup.prior.tolist())
        p = logits.softmax(dim=1)
        cosine = p @ prior / (p.square().sum(dim=1) * prior.square().sum()).sqrt()
        return t * (logits / t).logsumexp(dim=1) * (1 - cosine)
