"""GEN: confidence = minus a generalised entropy of the largest softmax probabilities.

    confidence = −Σ_{c among the M largest} (p_c (1 − p_c))^γ,  p = softmax f(x)

Source: Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection", CVPR 2023; γ = 0.1
and M = 100, at most K.
Deviation: computed from log p and log(1 − p), so that probabilities near 0 and 1 keep their digits: with γ = 0.1, a p
that float32 rounds to 1 changes the sum by up to 0.2.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from oltr_cli.detector import DetectorSetup, LogitDetector, MethodParams

if TYPE_CHECKING:
    from torch import Tensor


class GEN(LogitDetector):
    """Generalised entropy of the saved logits, at most 0."""

    source = "Liu et al., CVPR 2023"
    search_space: ClassVar[dict[str, str]] = {"detector.gamma": "0.01:1:log"}

    class Params(MethodParams):
        """Symbols as in the source."""

        gamma: float = Field(0.1, gt=0, description="γ; small values weigh improbable classes more")
        classes: int = Field(100, ge=1, description="M, number of largest probabilities that count; at most K")

    setup: DetectorSetup[Params]

    def from_logits(self, logits: "Tensor") -> "Tensor":
        p = self.setup.params
        log_p = logits.log_softmax(dim=1)
        if logits.shape[1] == 1:
            return 0 * log_p[:, 0]
        top = log_p.topk(min(p.classes, logits.shape[1]), dim=1).values
        # Only the largest can be near 1; its 1 − p is the sum of all others.
        others = log_p.scatter(1, log_p.argmax(dim=1, keepdim=True), float("-inf")).logsumexp(dim=1, keepdim=True)
        first, following = top[:, :1] + others, top[:, 1:] + (-top[:, 1:].exp()).log1p()
        return -(p.gamma * first).exp().sum(dim=1) - (p.gamma * following).exp().sum(dim=1)
