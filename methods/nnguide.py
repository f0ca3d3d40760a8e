"""NNGuide: the energy, guided by the nearest training features, each weighted with its own energy.

    z = h / ‖h‖,  e = log Σ_c exp f_c
    confidence = e(x) · mean of the k largest e_i (z(x) · z_i) over a bank of training samples i

Source: Park et al., "Nearest Neighbor Guidance for Out-of-Distribution Detection", ICCV 2023; k = 100 and a bank of 1 %
of the training set, as in OpenOOD for ImageNet.
Deviation: the bank has at least k samples if there are as many, and is taken at equal intervals from the training list,
not at random, so that it has no seed. The product is of two energies: logits whose log-sum-exp is often negative do not
suit it.
"""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from oltr_cli.detector import Detector, DetectorSetup, MethodParams, Samples, SavedScores

from ._class_means import unit
from ._logits import Floats, energy

PAIRS = 2**23  # number of similarities of a block to the bank, 64 MB


class NNGuide(Detector):
    """A bank of weighted unit features (B, D) in float64."""

    source = "Park et al., ICCV 2023"
    search_space: ClassVar[dict[str, str]] = {"detector.k": "1:500:log"}
    reads = ("features", "logits")

    class Params(MethodParams):
        """Symbols as in the source."""

        k: int = Field(100, ge=1, description="k, number of nearest samples; at most those of the bank")
        share: float = Field(0.01, gt=0, le=1, description="α, share of the training samples that the bank holds")

    setup: DetectorSetup[Params]

    def fit(self, train: SavedScores) -> None:
        """The bank."""
        p, train = self.setup.params, self.require(train)
        size = min(len(train), max(round(p.share * len(train)), p.k))
        chosen = train.take(np.arange(size) * len(train) // size)
        self.bank = unit(chosen.features)
        self.bank *= energy(chosen.logits)[:, None]
        self.k = min(p.k, size)
        self.block = min(type(self).block, max(1, PAIRS // size))

    def confidence(self, block: Samples) -> Floats:
        """Confidence on the scale of the squared logits."""
        similar = torch.from_numpy(unit(block.features) @ self.bank.T)
        return energy(block.logits) * similar.topk(self.k, dim=1, sorted=False).values.mean(dim=1).numpy()

    def report(self) -> dict[str, int]:
        """The k in use, and the size of the bank."""
        return {"k": self.k, "bank": len(self.bank)}
