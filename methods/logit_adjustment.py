"""Logit adjustment: the training set's class prior taken out of the logits, after training or inside the loss.

    form "post-hoc" (default):  training CE(f, y),                 scores from f − τ · log π
    form "loss":                training CE(f + τ · log π, y),     scores from f             π_c = N_c / N

Source: Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, Eqs. 9 and 10.
The paper has no such row; the method is later.
The form "loss" at τ = 1 is balanced softmax: log π and log n differ by a constant, which a softmax does not see. It is
here for other τ; the post-hoc form, which trains as plain does for the epochs of all other rows, is the new thing.
Deviation: stage 2 from the plain model, as all other rows.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Scores, Setup


class LogitAdjustment(LinearMethod):
    """Plain's network with τ · log π on one side of training or the other."""

    starts_from = "plain"
    family = "long-tail, later than the paper"
    source = "Menon et al., ICLR 2021"
    # π is the prior of images as they come. After class-aware batches the logits hold a uniform prior, and taking out
    # π would push them as far to the other side.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {"params.tau": "0:2.5"}

    class Params(MethodParams):
        """Where the prior is taken out, and how much of it."""

        form: Literal["loss", "post-hoc"] = Field(
            "post-hoc", description="where the prior is taken out: of the loss in training, or of the scores after it"
        )
        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior; 0 is plain training for more epochs")

    setup: Setup[Params]
    adjustment: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        self.form = p.form
        counts = torch.tensor(setup.class_counts, dtype=torch.float32)
        self.register_buffer("adjustment", p.tau * (counts / counts.sum()).log(), persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy, of the adjusted logits in the form "loss"."""
        logits = self.classifier(self.backbone(images)).float()
        if self.form == "loss":
            logits = logits + self.adjustment
        return {"cross_entropy": F.cross_entropy(logits, labels)}

    def forward(self, images: Tensor) -> Scores:
        v = self.backbone(images)
        logits = self.classifier(v).float()
        if self.form == "post-hoc":
            logits = logits - self.adjustment
        return Scores.from_logits(logits, v)
