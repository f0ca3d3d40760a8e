"""NCM: the class whose mean feature is nearest; nothing is trained.

    cosine (default):  logit_c = cos(z, μ_c),         μ_c = mean of the features z of class c
    euclidean:         logit_c = −‖ẑ − m_c‖²,         ẑ = z/‖z‖,  m_c = mean of the ẑ of class c
    confidence = the largest logit, how near the nearest mean is

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020; Sec. 4, which
has the cosine, and the Euclidean distance of features scaled to length 1.
Its authors, ImageNet-LT, ResNeXt-50: many 56.6, medium 45.3, few 28.1, overall 47.3 (closed).
The confidence is a similarity, not a probability. So τ is not the paper's 0.1: it accepts 95 % of validation.
Deviation: the authors' code subtracts the mean of all training features before it scales them, and uses the Euclidean
distance; the paper does not mention it. ``centre`` does so, also with the cosine.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup

from ._class_means import class_means
from ._cosine import cosines


class NCM(FeatureMethod):
    """Class means (K, D) of plain's features, in the checkpoint.

    Attributes:
        means: (K, D), of features as ``_placed`` returns them.
        origin: (D,), the mean of all training features, 0 without ``centre``.
        seen: (K,), False for a class without a feature, which is nearest to nothing.
    """

    family = "long-tail, later than the paper"
    source = "Kang et al., ICLR 2020"
    trains = False
    threshold_rule = "id_quantile:0.95"
    search_space: ClassVar[dict[str, str]] = {}

    class Params(MethodParams):
        """How near a feature is to a mean."""

        metric: Literal["cosine", "euclidean"] = Field(
            "cosine", description="similarity to a class's mean: cosine, or negative squared distance at length 1"
        )
        centre: bool = Field(False, description="subtract the mean of all training features first")

    setup: Setup[Params]
    means: Tensor
    origin: Tensor
    seen: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        classes, dim = setup.num_classes, self.backbone.feature_dim
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("origin", torch.zeros(dim))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Compute the means on the CPU, in float64, which not every device has."""
        features, labels = train.features.cpu().double(), train.labels.cpu()
        if self.setup.params.centre:
            self.origin.copy_(features.mean(dim=0))
        placed = self._placed(features, self.origin.cpu().double())
        means, counts = class_means([(placed.numpy(), labels.numpy())], *self.means.shape)
        self.means.copy_(torch.from_numpy(means))
        self.seen.copy_(torch.from_numpy(counts > 0))

    def score_features(self, features: Tensor) -> Scores:
        z = self._placed(features, self.origin)
        if self.setup.params.metric == "cosine":
            logits, least = cosines(z, self.means), -1.0
        else:
            squares = z.square().sum(dim=1, keepdim=True) + self.means.square().sum(dim=1)
            logits, least = 2 * z @ self.means.T - squares, -4.0
        logits = torch.where(self.seen, logits, least)
        return Scores(logits, logits.amax(dim=1), features)

    @torch.no_grad()
    def class_entries(self, features: Tensor) -> dict[str, Tensor]:
        """The class's mean, as ``prepare_features`` computes it; ``origin`` stays that of the old classes."""
        placed = self._placed(features.cpu().double(), self.origin.cpu().double())
        return {"means": placed.mean(dim=0), "seen": torch.tensor(True)}

    def linear_head(self) -> None:
        """None: a cosine and a distance of scaled features are not linear in them."""

    def _placed(self, features: Tensor, origin: Tensor) -> Tensor:
        """Features (B, D) as they are averaged and compared."""
        centred = features - origin
        return F.normalize(centred) if self.setup.params.metric == "euclidean" else centred
