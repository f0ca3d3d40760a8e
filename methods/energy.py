"""Energy: confidence = negative free energy, a soft maximum of the logits.

    confidence = −E(x) = T · log Σ_c exp(f(x)_c / T)

Source: Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020; Eq. 4, used as it is, T = 1.
Deviation: none known; the fine-tuning with outliers of Sec. 3.3 is not part of it.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, MethodParams, SavedScores
from oltr_cli.errors import DataProblem

BLOCK = 4096  # samples at a time


class Energy(Detector):
    """T · logsumexp of the saved logits."""

    starts_from = None
    family = "open-set detector"
    source = "Liu et al., NeurIPS 2020"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "0.1:100:log"}

    class Params(MethodParams):
        """The one knob of the rule."""

        temperature: float = Field(1.0, gt=0, description="T; towards 0 the rule becomes maxlogit")

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence on the logits' own scale, at least the largest logit; the prediction stays the network's.

        Raises:
            DataProblem: there are no logits, or not finite ones.
        """
        p = self.setup.params
        assert isinstance(p, Energy.Params)
        if scores.logits is None:
            raise DataProblem("energy reads the logits, and these scores have none")
        confidence = np.empty(len(scores), np.float32)
        for start in range(0, len(scores), BLOCK):
            block = scores.logits[start : start + BLOCK].astype(np.float64)
            highest = block.max(axis=1)
            block = (block - highest[:, None]) / p.temperature
            confidence[start : start + BLOCK] = highest + p.temperature * np.log(np.exp(block).sum(axis=1))
        if not np.isfinite(confidence).all():
            raise DataProblem("energy: the logits hold NaN or infinity")
        return replace(scores, confidence=confidence)
