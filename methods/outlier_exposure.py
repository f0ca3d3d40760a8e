"""Outlier exposure: cross-entropy on known images, and on outliers a push towards equal probabilities for all classes.

    loss = mean over known images of CE(f, y) + λ · mean over outliers of (logsumexp f − mean_c f_c)

The second term is the cross-entropy of softmax(f) to the uniform distribution, but for the constant log K.
At test time: softmax(f), its largest probability as confidence.

Source: Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure", ICLR 2019, λ = 0.5.
The paper has no such row; the method is later in this field. It needs outliers, so no table lists it until it has runs.
Deviation: as many outliers as known images in a batch (``train.outlier_batch_size``), where the source has twice as
many; stage 2 from the plain model, as in all other rows.
"""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Setup
from oltr_cli.networks.layers import full_precision

from ._outliers import mean_over


class OutlierExposure(LinearMethod):
    """Plain's network, trained on outliers as well."""

    starts_from = "plain"
    family = "outlier data, later than the paper"
    source = "Hendrycks et al., ICLR 2019"
    uses_outliers = True
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}  # as in the source
    search_space: ClassVar[dict[str, str]] = {"params.lambda": "0.05:2:log"}

    class Params(MethodParams):
        """Symbol as in the source."""

        lambda_: float = Field(0.5, ge=0, description="λ, weight of the term on outliers")

    setup: Setup[Params]

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy over known images, and λ times the mean over outliers, whose label is −1."""
        logits = full_precision(self.classifier(self.backbone(images)))
        away = logits.logsumexp(dim=1) - logits.mean(dim=1)
        return {
            "cross_entropy": F.cross_entropy(logits, labels, ignore_index=-1),
            "outliers": self.setup.params.lambda_ * mean_over(away, labels == -1),
        }
