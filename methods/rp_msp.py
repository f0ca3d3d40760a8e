"""RP-MSP: confidence = the largest softmax probability less the class's share of the training images.

    confidence = max_c (p_c − π_c),  p = softmax f(x),  π_c = N_c / N

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class Prior", ICML 2023; the form of
their published code. Without information on a sample a network answers with π, not with 1/K.
Deviation: none known. On a method whose logits have a uniform prior (balanced-softmax, crt) msp is the one to use.
"""

from typing import TYPE_CHECKING

from oltr_cli.detector import LogitDetector

if TYPE_CHECKING:
    from torch import Tensor


class RPMSP(LogitDetector):
    """Largest probability above the prior, −1 … 1."""

    source = "Jiang et al., ICML 2023"

    def from_logits(self, logits: "Tensor") -> "Tensor":
        prior = logits.new_tensor(self.setup.prior.tolist())
        return (logits.softmax(dim=1) - prior).amax(dim=1)
