"""Plain model: softmax cross-entropy on instance-balanced batches, the stage 1 that all other rows start from.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as the row "Plain Model" of Table 3.
The paper, ImageNet-LT, ResNet-10: many 40.9, medium 10.7, few 0.4, overall 20.9 (closed), F-measure 0.295.
Deviation: none known; 30 epochs as in the paper, while other methods have 60 more. Tables show the epochs of each row.
"""

from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod
from oltr_cli.networks.layers import full_precision


class Plain(LinearMethod):
    """Backbone, pooled feature v (B, D), linear classifier (K, D)."""

    starts_from = None
    mixes = True
    family = "plain"
    source = "He et al., CVPR 2016"

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean softmax cross-entropy over the batch."""
        logits = self.classifier(self.backbone(images))
        return {"cross_entropy": F.cross_entropy(full_precision(logits), labels)}
