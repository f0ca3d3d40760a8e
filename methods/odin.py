"""ODIN: softmax at a high temperature, after moving the image a little towards its predicted class.

    x̃ = x − ε · sign(∇_x CE(f(x) / T, ŷ)) / std;  S = max_c softmax(f(x̃) / T)_c;  confidence = S − 1/K

Source: Liang, Li & Srikant, "Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks", ICLR
2018; Eqs. 1–2. T = 1000, ε = 0.0014 for pixels in 0 … 1, on normalised images divided by each channel's std.
The paper, Table 2 (CIFAR-100): detection error 24.6 with ε tuned on open samples (†), which is ``tune``.

The S of the source at T = 1000 is slightly above 1/K: in float32 the difference loses most of its digits and many
samples tie. So the confidence is the difference, the excess S − 1/K over a guess, computed without cancellation. It
orders samples as S does, and S ≥ δ is the same as confidence ≥ δ − 1/K. At T = 1 it is the maximum softmax minus 1/K.
Deviation: a gradient of exactly 0 moves nothing (sign as in Eq. 2); the authors' code counts it as positive.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.detector import DetectorSetup, MethodParams, NetworkDetector
from oltr_cli.errors import UsageProblem
from oltr_cli.method import Method, Scores
from oltr_cli.networks.layers import full_precision

TEMPERATURES = (1.0, 10.0, 100.0, 1000.0)
EPSILONS = (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.004)


class ODIN(NetworkDetector):
    """Temperature and input perturbation; two forward passes and one backward pass for each image."""

    starts_from = "plain"
    source = "Liang et al., ICLR 2018"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "1:10000:log", "detector.epsilon": "0:0.02"}

    class Params(MethodParams):
        """Symbols as in the source."""

        temperature: float = Field(1000.0, gt=0, description="T, divisor of the logits")
        epsilon: float = Field(0.0014, ge=0, description="ε, how far each pixel is moved; pixels are 0 … 1")
        tune: bool = Field(False, description="choose T and ε from 24 pairs on the open validation samples (†)")

    setup: DetectorSetup[Params]

    def score_images(self, network: Method, images: Tensor) -> Scores:
        """Confidence from x̃; logits (B, K), and thus the prediction, and features (B, D) from x.

        Args:
            network: in eval mode; its parameters get no gradient.
            images: x (B, 3, H, W), normalised.

        Raises:
            UsageProblem: the network's logits have no gradient for the image.
        """
        p = self.setup.params
        with torch.inference_mode(False):  # whose tensors could not take part in a gradient: hence the clone
            x = images.clone()
            with torch.enable_grad():
                plain = network(x.requires_grad_())
                logits = full_precision(plain.logits) / p.temperature
                if not logits.requires_grad:
                    raise UsageProblem(f"odin cannot run on {type(network).__name__}: its forward takes no gradient")
                # A sum, and times T: neither changes a sign, and both avoid underflow of the gradient.
                loss = p.temperature * F.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
                (gradient,) = torch.autograd.grad(loss, x)
            with torch.no_grad():
                std = x.new_tensor(self.setup.pixel_std).view(1, -1, 1, 1)
                moved = network(x - p.epsilon * gradient.sign() / std)
                return Scores(
                    plain.logits.detach(), excess_softmax(moved.logits, p.temperature), plain.features.detach()
                )

    def candidates(self) -> Sequence[NetworkDetector]:
        """The grid of T and ε, if ``tune`` is set."""
        if not self.setup.params.tune:
            return ()
        return [
            ODIN(replace(self.setup, params=ODIN.Params(temperature=t, epsilon=e)))
            for t in TEMPERATURES
            for e in EPSILONS
        ]

    def report(self) -> dict[str, float]:
        """The T and ε in use, which ``tune`` may have chosen."""
        p = self.setup.params
        return {"temperature": p.temperature, "epsilon": p.epsilon}


def excess_softmax(logits: Tensor, temperature: float) -> Tensor:
    """max_c softmax(f / T)_c − 1/K of logits f (B, K), (B,) float32 and ≥ 0, precise even if the two are close.

    With d_j = (f_j − max f) / T it is S · (1 − mean_j e^{d_j}), and expm1 gives 1 − e^{d_j} without cancellation.
    """
    f = logits.double().cpu()  # not every device has float64
    d = (f - f.amax(dim=1, keepdim=True)) / temperature
    return (-d.expm1().mean(dim=1) * d.softmax(dim=1).amax(dim=1)).float().to(logits.device)
