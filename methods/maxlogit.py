"""MaxLogit: confidence = the largest logit, which keeps the length that the softmax divides away.

    confidence = max_c f(x)_c

Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.
Deviation: none known.
"""

from dataclasses import replace

import numpy as np

from oltr_cli.detector import Detector, SavedScores
from oltr_cli.errors import DataProblem


class MaxLogit(Detector):
    """Maximum of the saved logits."""

    starts_from = None
    family = "open-set detector"
    source = "Hendrycks et al., ICML 2022"

    def score(self, scores: SavedScores) -> SavedScores:
        """Confidence on the logits' own scale; the prediction stays the network's.

        Raises:
            DataProblem: there are no logits, or not finite ones.
        """
        if scores.logits is None:
            raise DataProblem("maxlogit reads the logits, and these scores have none")
        confidence = scores.logits.max(axis=1).astype(np.float32)
        if not np.isfinite(confidence).all():
            raise DataProblem("maxlogit: the logits hold NaN or infinity")
        return replace(scores, confidence=confidence)
