"""FSLwF: cosine classifier whose weights for rare classes are generated from their few images.

    logit_c = s · cos(z, w_c);  of a novel class with images z_1 … z_N:
    w = φ_avg ⊙ mean_i z_i + φ_att ⊙ mean_i Σ_b softmax_b(γ cos(W_q z_i, key_b)) ŵ_b,  b over the base classes

Source: Gidaris, Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018; Sec. 3.
The paper, ImageNet-LT, ResNet-10: many 40.9, medium 22.1, few 15.0, overall 28.4 (closed), F-measure 0.347.

On a long tail, the classes with more than ``base_above`` training images are the base classes, whose weights are
learnt; those of the others are generated from all their images. The source's two stages are two parts of one run: up
to ``base_share`` of it, the base weights learn by cross-entropy among base classes; after that the generator learns as
well, by episodes. An episode treats some base classes of the batch as novel, generates their weights from N training
images with the other base classes as memory, and classifies further images of them, and the batch's images of the other
base classes, among all base classes.
Deviation: the features come from plain, after a ReLU, as in all rows; the source trains its own and omits the last ReLU
(``backbone.final_relu=false``). Base weights start at the class means of z instead of at random.
One learning-rate schedule spans both stages. N is drawn again in each step; the source trains one generator for
each N. The number of fake novel classes is ``fake_share`` of those in the batch; the source has 250 of 389, and dropout
on the features.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oltr_cli.method import FeatureMethod, FeatureSet, MethodParams, Scores, Setup
from oltr_cli.networks.layers import full_precision

IMAGES = 65536  # whose features are looked at in one piece
CLASSES = 256  # novel classes whose weights are generated in one piece


class WeightGenerator(nn.Module):
    """Generates weights of new classes from their images and the weights of the base classes.

    Attributes:
        phi_avg: φ_avg (D,), initially all ones, as is phi_att.
        query: W_q (D, D), initially the identity plus a little noise.
        gamma: γ, sharpness of the attention.
        keys: one key per base class, (K_b, D).
    """

    def __init__(self, feature_dim: int, num_base: int, gamma: float) -> None:
        super().__init__()
        self.phi_avg = nn.Parameter(torch.ones(feature_dim))
        self.phi_att = nn.Parameter(torch.ones(feature_dim))
        self.query = nn.Parameter(torch.eye(feature_dim) + 0.001 * torch.randn(feature_dim, feature_dim))
        self.gamma = nn.Parameter(torch.tensor(gamma))
        self.keys = nn.Parameter(torch.randn(num_base, feature_dim) * (2 / feature_dim) ** 0.5)

    def forward(self, z: Tensor, owner: Tensor, num_new: int, memory: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Weights (num_new, D) of any length; zero for a class without an image.

        Args:
            z: images' features (S, D) of length 1.
            owner: the new class of each image, (S,) in 0 … num_new−1.
            memory: base weights ŵ (K_b, D) of length 1.
            hidden: rows of the memory that get no attention, never all of them.
        """
        counts = torch.bincount(owner, minlength=num_new).clamp_min(1).unsqueeze(1)
        weights = self.phi_avg * (z.new_zeros(num_new, z.shape[1]).index_add(0, owner, z) / counts)
        if not len(memory):
            return weights
        affinity = self.gamma * F.normalize(z @ self.query.T, dim=1) @ F.normalize(self.keys, dim=1).T  # (S, K_b)
        if hidden is not None:
            affinity = affinity.index_fill(1, hidden, -torch.inf)
        recalled = affinity.softmax(dim=1) @ memory
        return weights + self.phi_att * (torch.zeros_like(weights).index_add(0, owner, recalled) / counts)


@dataclass(frozen=True)
class _Images:
    """Features (N, D) of the training set, and the images of each class: ``order[start … start + count − 1]``."""

    features: Tensor
    order: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, data: FeatureSet, num_classes: int) -> "_Images":
        counts = torch.bincount(data.labels, minlength=num_classes)
        return cls(data.features, data.labels.argsort(stable=True), counts.cumsum(0) - counts, counts)

    def all(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """All images of ``classes`` (C,): features (S, D), and the place in ``classes`` of each one's class (S,)."""
        counts = self.counts[classes]
        owner = torch.arange(len(classes), device=classes.device).repeat_interleave(counts)
        within = torch.arange(len(owner), device=classes.device) - (counts.cumsum(0) - counts)[owner]
        return self.features[self.order[self.starts[classes][owner] + within]], owner

    def draw(self, classes: Tensor, shots: int, queries: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Random images without repetition: ``shots`` of each class, and up to ``queries`` others.

        If a class has no more than ``shots`` images, one is kept as a query. Both are (features, owner), as from
        ``all``.
        """
        counts = self.counts[classes].unsqueeze(1)
        longest = int(counts.max())
        keys = torch.rand(len(classes), longest, device=classes.device)
        keys = keys.masked_fill(torch.arange(longest, device=classes.device) >= counts, torch.inf)
        drawn = keys.topk(min(shots + queries, longest), largest=False).indices  # padding comes last
        place = torch.arange(drawn.shape[1], device=classes.device)
        is_shot = place < (counts - 1).clamp_max(shots)
        is_query = ~is_shot & (place < (counts - 1).clamp_max(shots) + queries) & (place < counts)
        position = self.starts[classes].unsqueeze(1) + drawn
        owner = torch.arange(len(classes), device=classes.device).unsqueeze(1).expand_as(drawn)
        shot, query = ((self.features[self.order[position[mask]]], owner[mask]) for mask in (is_shot, is_query))
        return shot, query


class FSLwF(FeatureMethod):
    """Cosine classifier of K_b learnt and K − K_b generated weights, on plain's features z of length 1."""

    family = "few-shot learning"
    source = "Gidaris & Komodakis, CVPR 2018"
    no_new_class = "it learns in episodes which classes are base and which are generated"
    search_space: ClassVar[dict[str, str]] = {
        "params.scale": "5:30:log",
        "params.gamma": "5:40:log",
        "params.base_share": "0.2:0.8",
    }

    class Params(MethodParams):
        """Symbols as in the source."""

        base_above: int = Field(20, ge=0, description="classes with more training images than this are base classes")
        base_share: float = Field(0.5, ge=0, le=1, description="share of the run before the generator learns")
        scale: float = Field(10.0, gt=0, description="initial s, factor of the cosine classifier's logits")
        gamma: float = Field(
            10.0, gt=0, description="initial γ, sharpness of the attention; 30 in the source's ImageNet runs"
        )
        shots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
            (1, 2, 5, 10, 20),
            min_length=1,
            description="possible numbers of images N from which an episode generates weights",
        )
        fake_share: float = Field(
            0.5, gt=0, le=1, description="share of the batch's base classes that an episode treats as novel"
        )

    setup: Setup[Params]
    base: Tensor
    novel: Tensor
    row: Tensor
    place: Tensor
    novel_weights: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        p = self.setup.params
        is_base = torch.tensor(setup.class_counts) > p.base_above
        base, novel = is_base.nonzero()[:, 0], (~is_base).nonzero()[:, 0]
        dim = self.backbone.feature_dim
        row = torch.full((setup.num_classes,), -1)
        row[base] = torch.arange(len(base))
        place = torch.cat([base, novel]).argsort()
        for name, index in {"base": base, "novel": novel, "row": row, "place": place}.items():
            self.register_buffer(name, index, persistent=False)  # they follow from the class counts
        self.base_weights = nn.Parameter(torch.randn(len(base), dim) * (2 / dim) ** 0.5)
        self.scale = nn.Parameter(torch.tensor(p.scale))
        self.generator = WeightGenerator(dim, len(base), p.gamma)
        # A buffer: with the weights loaded, scoring needs no training set to generate them again.
        self.register_buffer("novel_weights", torch.zeros(len(novel), dim))
        self.images: _Images | None = None
        self.stale = False  # novel_weights were generated before the last step
        self.register_state_dict_pre_hook(_generate_if_stale)
        self.register_load_state_dict_post_hook(_mark_fresh)

    @torch.no_grad()
    def prepare_features(self, train: FeatureSet, val: FeatureSet) -> None:
        """Keep the training features, and start base weights at the mean z of their classes."""
        self.images = _Images.of(train, self.setup.num_classes)
        sums = self.base_weights.new_zeros(self.setup.num_classes, self.base_weights.shape[1])
        for features, labels in zip(train.features.split(IMAGES), train.labels.split(IMAGES), strict=True):
            sums.index_add_(0, labels, F.normalize(features, dim=1))
        means = sums[self.base] / self.images.counts[self.base].clamp_min(1).unsqueeze(1)
        # A mean of length 0 has no direction: such classes keep their random weights.
        self.base_weights.copy_(torch.where(means.norm(dim=1, keepdim=True) > 0, means, self.base_weights))
        self.stale = True

    def feature_loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy among base classes, of their images in the batch or of an episode."""
        self.stale = True
        with torch.autocast(features.device.type, enabled=False):
            z, row = F.normalize(full_precision(features), dim=1), self.row[labels]
            z, row = z[row >= 0], row[row >= 0]
            if not len(row):
                # A loss without gradient would stop the run; a zero one only lets weight decay act.
                return {"cross_entropy": 0 * self.base_weights.sum()}
            fake = row[:0] if self.progress < self.setup.params.base_share else self._fake_novel(row)
            logits, targets = self._episode(z, row, fake) if len(fake) else (self._base_logits(z), row)
            return {"cross_entropy": F.cross_entropy(logits, targets)}

    def score_features(self, features: Tensor) -> Scores:
        _generate_if_stale(self)
        z = F.normalize(full_precision(features), dim=1)
        logits = torch.cat([self._base_logits(z), self.scale * z @ self.novel_weights.T], dim=1)
        return Scores.from_logits(logits[:, self.place], features)

    def _base_logits(self, z: Tensor) -> Tensor:
        return self.scale * z @ F.normalize(self.base_weights, dim=1).T

    def _fake_novel(self, row: Tensor) -> Tensor:
        """Rows (F,) of base classes treated as novel; empty if there are too few."""
        if self.images is None:
            raise RuntimeError("prepare_features must be called first; it provides the images to generate weights from")
        present = row.unique()
        able = present[self.images.counts[self.base[present]] >= 2]  # one image to learn from and one to test
        number = max(1, int(self.setup.params.fake_share * len(present)))
        number = min(number, len(able), len(self.base) - 1)  # and classes left for the memory
        return able[torch.randperm(len(able), device=able.device)[:number]]

    def _episode(self, z: Tensor, row: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (Q, K_b) and targets (Q,) with the weights of ``fake`` generated."""
        assert self.images is not None
        choices = self.setup.params.shots
        shots = choices[int(torch.randint(len(choices), ()))]
        per_class = max(1, len(row) // len(row.unique()))
        (shot, owner), (query, asked) = self.images.draw(self.base[fake], shots, per_class)
        memory = F.normalize(self.base_weights, dim=1)
        made = self.generator(F.normalize(shot, dim=1), owner, len(fake), memory, hidden=fake)
        others = ~torch.isin(row, fake)
        z = torch.cat([z[others], F.normalize(query, dim=1)])
        logits = (z @ memory.T).index_copy(1, fake, z @ F.normalize(made, dim=1).T)
        return self.scale * logits, torch.cat([row[others], fake[asked]])


@torch.no_grad()
def _generate_if_stale(method: FSLwF, *_: object) -> None:
    """Update ``novel_weights`` with the current generator, from all images of the novel classes."""
    if not method.stale or method.images is None:
        return
    memory = F.normalize(method.base_weights, dim=1)
    for start in range(0, len(method.novel), CLASSES):
        classes = method.novel[start : start + CLASSES]
        features, owner = method.images.all(classes)
        made = method.generator(F.normalize(features, dim=1), owner, len(classes), memory)
        method.novel_weights[start : start + CLASSES] = F.normalize(made, dim=1)
    method.stale = False


def _mark_fresh(method: FSLwF, *_: object) -> None:
    """Loaded weights include the generated weights of the novel classes."""
    method.stale = False
