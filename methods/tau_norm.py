"""τ-normalisation: plain's classifier with each class's weights divided by a power of their norm; nothing is trained.

    logit_c = w_cᵀ z / ‖w_c‖^τ,  without bias;  τ = 0 is plain's, τ = 1 makes all classes equally long

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020; Sec. 4.
Its authors, ImageNet-LT, ResNeXt-50: many 59.1, medium 46.9, few 30.7, overall 49.4 (closed).
τ is the one of 0, 0.1, … 2 with the best mean of the classes' validation accuracies, the smallest of several; where
all classes have the same number of validation images, that is the paper's validation accuracy.
Deviation: none known.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

GRID = tuple(step / 10 for step in range(21))
BLOCK = 4096  # validation samples per block: (BLOCK, K) products


class TauNorm(FeatureMethod):
    """Plain's weights (K, D), with τ in the checkpoint."""

    family = "long-tail, later than the paper"
    source = "Kang et al., ICLR 2020"
    trains = False
    search_space: ClassVar[dict[str, str]] = {"params.tau": "0:2"}

    class Params(MethodParams):
        """Symbols as in the source."""

        tau: Annotated[float, Field(ge=0, le=2)] | Literal["validation"] = Field(
            "validation",
            description="τ, exponent of the weights' norm, 0 … 2; validation: chosen on the validation split",
        )

    setup: Setup[Params]
    tau: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        tau = self.setup.params.tau
        self.given = None if tau == "validation" else float(tau)
        self.classifier = nn.Linear(self.backbone.feature_dim, setup.num_classes, bias=False)
        self.register_buffer("tau", torch.tensor(1.0 if self.given is None else self.given))

    @torch.no_grad()
    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Choose τ on the validation split, unless the recipe sets it."""
        self.tau.fill_(self._best_tau(val) if self.given is None else self.given)

    def score_features(self, features: Tensor) -> Scores:
        return Scores.from_logits(self.classifier(features) * self._factors(self.tau), features)

    def _factors(self, tau: Tensor | float) -> Tensor:
        """1 / ‖w_c‖^τ, (K,); weights of norm 0 give logits 0 with any factor."""
        return self.classifier.weight.norm(dim=1).clamp_min(1e-12) ** -tau

    def _best_tau(self, val: FeatureSet) -> float:
        factors = [self._factors(tau) for tau in GRID]
        images = torch.bincount(val.labels, minlength=self.setup.num_classes)
        correct = images.new_zeros(len(GRID), self.setup.num_classes)
        for z, labels in zip(val.features.split(BLOCK), val.labels.split(BLOCK), strict=True):
            products = self.classifier(z)  # once; each τ only scales its columns
            for row, factor in zip(correct, factors, strict=True):
                hits = labels[(products * factor).argmax(dim=1) == labels]
                row += torch.bincount(hits, minlength=len(row))
        seen = images > 0
        # On the CPU, which has float64; the precision matters between two values of τ.
        accuracy = (correct[:, seen].cpu().double() / images[seen].cpu()).mean(dim=1)
        best = accuracy >= accuracy.max() - 1e-12  # equal except for rounding of the mean
        return GRID[int(best.int().argmax())]
