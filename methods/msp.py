"""MSP: confidence = the largest softmax probability, the rule of every row of the paper that names no other.

    confidence = max_c softmax(f(x) / T)_c

Source: Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
Networks", ICLR 2017. There T = 1; another T is a parameter (temperature scaling, Guo et al. 2017).
The paper's tables reject where confidence < 0.1. Deviation: none known.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from oltr_cli.detector import Detector, MethodParams, SavedScores
from oltr_cli.errors import DataProblem

BLOCK = 4096  # samples at a time


class MSP(Detector):
    """Maximum softmax probability of the saved logits."""

    starts_from = None
    family = "open-set detector"
    source = "Hendrycks & Gimpel, ICLR 2017"
    threshold_rule = "fixed:0.1"
    search_space: ClassVar[dict[str, str]] = {"detector.temperature": "0.1:1000:log"}

    class Params(MethodParams):
        """The one knob of the rule."""

        temperature: float = Field(1.0, gt=0, description="T that the logits are divided by")

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence in 1/K … 1; the prediction stays the network's.

        Raises:
            DataProblem: there are no logits, or not finite ones.
        """
        p = self.setup.params
        assert isinstance(p, MSP.Params)
        if scores.logits is None:
            raise DataProblem("msp reads the logits, and these scores have none")
        confidence = np.empty(len(scores), np.float32)
        for start in range(0, len(scores), BLOCK):
            block = scores.logits[start : start + BLOCK].astype(np.float64)
            block -= block.max(axis=1, keepdims=True)
            confidence[start : start + BLOCK] = 1 / np.exp(block / p.temperature).sum(axis=1)
        if not np.isfinite(confidence).all():
            raise DataProblem("msp: the logits hold NaN or infinity")
        return replace(scores, confidence=confidence)
