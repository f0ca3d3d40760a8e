"""Logit adjustment: removes the training set's class prior from the logits, after training or inside the loss.

    form "post-hoc" (default):  training CE(f, y),                 scores from f − τ · log π
    form "loss":                training CE(f + τ · log π, y),     scores from f             π_c = N_c / N

Source: Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, Eqs. 9 and 10.
The paper has no such row; the method is later.
The form "loss" at τ = 1 is balanced softmax: log π and log n differ by a constant, which does not change a softmax. It
is here for other τ; the post-hoc form, which trains like plain for the epochs of all other rows, is the default.
Deviation: stage 2 from the plain model, as in all other rows; with --from-scratch from nothing, as in the source.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import LinearMethod, MethodParams, Scores, Setup
from oltr_cli.networks.layers import full_precision


class LogitAdjustment(LinearMethod):
    """Plain's network with τ · log π in the loss, or in the scores after training."""

    starts_from = "plain"
    trains_from_scratch = True
    mixes = True
    family = "long-tail, later than the paper"
    source = "Menon et al., ICLR 2021"
    # π is the prior of instance-balanced batches. After class-aware batches the logits have a uniform prior, and
    # removing π would bias them the other way.
    train_defaults: ClassVar[dict[str, Any]] = {"sampler": "instance"}
    search_space: ClassVar[dict[str, str]] = {"params.tau": "0:2.5"}

    class Params(MethodParams):
        """Where the prior is removed, and how much of it."""

        form: Literal["loss", "post-hoc"] = Field(
            "post-hoc",
            description="where the prior is removed: in the training loss, or from the scores after training",
        )
        tau: float = Field(1.0, ge=0, description="τ, weight of the log prior; 0 is plain training for more epochs")

    setup: Setup[Params]
    adjustment: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        self.form = p.form
        counts = torch.tensor(setup.class_counts, dtype=torch.get_default_dtype())
        self.register_buffer("adjustment", p.tau * (counts / counts.sum()).log(), persistent=False)

    def training_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy, of the adjusted logits in the form "loss"."""
        logits = full_precision(self.classifier(self.backbone(images)))
        if self.form == "loss":
            logits = logits + self.adjustment
        return {"cross_entropy": F.cross_entropy(logits, labels)}

    def score_features(self, features: Tensor) -> Scores:
        logits = full_precision(self.classifier(features))
        if self.form == "post-hoc":
            logits = logits - self.adjustment
        return Scores.from_logits(logits, features)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        bias = self.classifier.bias
        return self.classifier.weight, bias - self.adjustment if self.form == "post-hoc" else bias
