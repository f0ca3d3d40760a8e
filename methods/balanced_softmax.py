"""Balanced softmax: cross-entropy of a softmax that includes the frequency of each class in training.

    loss = −log(n_y · e^{f_y} / Σ_c n_c · e^{f_c}) = CE(f + log n, y)        at test time: softmax(f)

Source: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020.
The paper has no such row; the method is later.
Deviation: only the softmax, without the source's meta sampler; stage 2 from the plain model, as in all other rows;
`oltr run balanced-softmax --from-scratch` trains from nothing, as the source does.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, Setup
from oltr_cli.networks.layers import full_precision


class BalancedSoftmax(LinearMethod):
    """Plain's network with the balanced softmax; at test time only the logits, with all classes equally frequent."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    family = "long-tail, later than the paper"
    source = "Ren et al., NeurIPS 2020"
    # log n_c is the prior of instance-balanced batches; in class-aware batches all classes are equally frequent, and
    # the shift would correct for a tail that is not there.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}

    log_counts: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        log_counts = torch.tensor(setup.class_counts, dtype=torch.get_default_dtype()).log()
        self.register_buffer("log_counts", log_counts, persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of logits + log n."""
        logits = full_precision(self.classifier(self.backbone(images)))
        return {"balanced_softmax": F.cross_entropy(logits + self.log_counts, labels)}
