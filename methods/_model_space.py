"""The space of classifiers: few-shot and many-shot classifiers of the same classes, and losses for a map between them.

Shared by the methods that learn such a map F on the frozen features of head classes and apply it to the tail. The
classifier θ of a class is a one-vs-all ridge classifier on whitened features (``_small_classifiers``), for head and
tail alike, so that all weights are comparable from the start. Three losses:

    squared error   mean over entries of (F(θ_k) − θ*)², θ_k a sampled k-shot classifier and θ* the many-shot one
    cross-entropy   of held-out images among the head classes, half of which play the tail and answer with F(θ_k)
    calibration     of held-out images among all classes; it moves only a gain and an offset of the tail's logits,
                    one of each for the classes with 2^i … 2^(i+1) − 1 images, so that the tail is neither drowned by
                    the head nor favoured over it. F gets no gradient from it: the tail stays unseen.

A quarter of the images of each class is held out (of two or three, one; of a single one, none): the classifiers in the
last two losses have not seen them. The final ones see all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._small_classifiers import SmallClassifiers, Whitening, whitening


@dataclass(frozen=True)
class Drawn:
    """S sampled few-shot classifiers of head classes, in E episodes.

    Attributes:
        theta: (S, D + 1), from 2^level images.
        target: (S, D + 1), the many-shot classifiers of the same classes.
        level: (S,), log2 of the images.
        episode: (S,), in 0 … E − 1.
        head: (S,), place of the class among the H head classes; no class twice in an episode.
    """

    theta: Tensor
    target: Tensor
    level: Tensor
    episode: Tensor
    head: Tensor


class ModelSpace(nn.Module):
    """All classifiers of K classes, and the final one made from them.

    Every θ here is divided by ``unit``, the root mean square entry of the many-shot classifiers, and so about 1.
    Buffers contain what scores depend on; what only training needs is computed again by ``prepare``.

    Args:
        dim: D of the features.
        class_counts: training images of each class.
        head_images: a class with at least this many images is a head class and keeps its many-shot classifier.
        classifiers: approximate number of few-shot classifiers that ``draw`` returns.
        repeats: k-shot classifiers sampled for a head class: repeats / k, at least 2.
    Attributes:
        theta: (K, D + 1), each class's classifier from all of its images.
        level: (K,), floor(log2 n) of a class with n images, at most the last level.
        tail: (T,), the classes that are not head classes.
    """

    theta: Tensor
    level: Tensor
    is_head: Tensor
    mean: Tensor
    matrix: Tensor
    unit: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self, dim: int, class_counts: Sequence[int], head_images: int, *, classifiers: int = 64, repeats: int = 32
    ) -> None:
        super().__init__()
        num_classes = len(class_counts)
        self.classifiers, self.repeats = classifiers, repeats
        self.levels = max(1, (head_images - 1).bit_length())
        self.deepest = -1  # log2 of the largest k that has classifiers; −1 if there is no head class
        images = torch.tensor(class_counts)
        level = [min(max(n, 1).bit_length(), self.levels) - 1 for n in class_counts]
        self.register_buffer("level", torch.tensor(level), persistent=False)
        self.register_buffer("is_head", images >= head_images, persistent=False)
        self.register_buffer("theta", torch.zeros(num_classes, dim + 1))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("matrix", torch.eye(dim))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("weight", torch.zeros(num_classes, dim))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.log_gain = nn.Parameter(torch.zeros(self.levels))
        self.offset = nn.Parameter(torch.zeros(self.levels))

    @property
    def tail(self) -> Tensor:
        return (~self.is_head).nonzero().squeeze(1)

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, shrinkage: float, ridge: float) -> None:
        """Train the classifiers of all classes, and sample the few-shot ones, on features (N, D) and labels (N,)."""
        whiten = whitening(features, labels, shrinkage)
        z, classes = whiten(features), torch.arange(len(self.level), device=labels.device)
        theta = SmallClassifiers(z, labels, len(classes), ridge).on_all_images(classes)
        counts = torch.bincount(labels, minlength=len(classes))
        self._heads = (self.is_head & (counts > 1)).nonzero().squeeze(1)  # one to learn from and one to classify
        many_shot = theta[self._heads] if len(self._heads) else theta
        self.mean.copy_(whiten.mean)
        self.matrix.copy_(whiten.matrix)
        self.unit.copy_(many_shot.square().mean().sqrt().clamp_min(1e-12))
        self.theta.copy_(theta / self.unit)
        self._split(z, labels, counts)
        small = SmallClassifiers(self._z_rest, self._labels_rest, len(classes), ridge)
        self._rivals = small.on_all_images(classes) / self.unit
        self._sample(small)
        self._set_scale()
        self.write(self.theta[self.tail])

    def _split(self, z: Tensor, labels: Tensor, counts: Tensor) -> None:
        """Hold out a quarter of the images of each class, in the order of the classes."""
        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).to(labels.device)
        order = shuffled[labels[shuffled].argsort(stable=True)]  # by class, in random order within
        position = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
        self._held_counts = torch.where(counts > 1, (counts // 4).clamp_min(1), 0)
        held = position < self._held_counts[labels[order]]
        self._held, self._held_labels = z[order[held]], labels[order[held]]
        self._held_first = self._held_counts.cumsum(0) - self._held_counts
        self._z_rest, self._labels_rest = z[order[~held]], labels[order[~held]]

    def _sample(self, small: SmallClassifiers) -> None:
        """k-shot classifiers of the head classes for every k = 2^i below ``head_images``."""
        self.deepest = -1
        if not len(self._heads):
            return
        shots = [2**level for level in range(self.levels)]
        repeats = [max(2, self.repeats // k) for k in shots]
        pool = small.sampled(self._heads, shots, repeats, torch.Generator().manual_seed(1))
        device = self._heads.device
        self._pool = torch.cat([theta.flatten(0, 1) for theta in pool]) / self.unit
        self._repeats = torch.tensor(repeats, device=device)
        self._start = (self._repeats.cumsum(0) - self._repeats) * len(self._heads)
        # A class with fewer than k images has no k-shot classifier.
        self._open = (torch.tensor(shots, device=device) <= small.counts[self._heads, None]).sum(1)
        self.deepest = int(self._open.max()) - 1

    def _set_scale(self) -> None:
        """The factor from scores to logits with the lowest cross-entropy of held-out images among the head classes."""
        rows = torch.isin(self._held_labels, self._heads)
        if len(self._heads) < 2 or not rows.any():
            self.scale.fill_(8.0)  # for scores in −1 … 1; there are no images to find it from
            return
        scores = self._held[rows] @ self._rivals[self._heads].T * self.unit
        places = torch.searchsorted(self._heads, self._held_labels[rows])
        scales = [2 ** (step / 4) for step in range(-8, 29)]
        self.scale.fill_(min(scales, key=lambda s: F.cross_entropy(s * scores, places).item()))

    def draw(self, first: int = 0) -> Drawn:
        """Half of the head classes per episode, each with a classifier of 2^first images or more.

        Args:
            first: in 0 … ``deepest``.
        """
        device = self._heads.device
        able = (self._open > first).nonzero().squeeze(1)
        half = (len(able) + 1) // 2
        episodes = -(-self.classifiers // half)
        # Drawn on the CPU, so that draws are the same on every device.
        head = able[torch.rand(episodes, len(able)).argsort(1)[:, :half].flatten().to(device)]
        level = first + (torch.rand(len(head)).to(device) * (self._open[head] - first)).long()
        repeat = (torch.rand(len(head)).to(device) * self._repeats[level]).long()
        theta = self._pool[self._start[level] + head * self._repeats[level] + repeat]
        episode = torch.arange(episodes, device=device).repeat_interleave(half)
        return Drawn(theta, self.theta[self._heads[head]], level, episode, head)

    def losses(self, drawn: Drawn, generated: Tensor, tail: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The three losses of the module's docstring.

        Args:
            generated: (S, D + 1), F of ``drawn.theta``.
            tail: (T, D + 1), F of ``tail_rest()``, without gradient.
            labels: (B,); for each, one held-out image of its class is classified, if there is any.
        """
        labels = labels[self._held_counts[labels] > 0]
        at = (torch.rand(len(labels)).to(labels.device) * self._held_counts[labels]).long()
        z = self._held[self._held_first[labels] + at]
        terms = {"squared_error": (generated - drawn.target).square().mean()}
        factor = self.scale * self.unit

        of_head = torch.isin(labels, self._heads)
        if of_head.any():
            episodes = int(drawn.episode[-1]) + 1
            logits = (z[of_head] @ self._rivals[self._heads].T).expand(episodes, -1, -1).clone()  # (E, B, H)
            logits[drawn.episode, :, drawn.head] = generated @ z[of_head].T
            places = torch.searchsorted(self._heads, labels[of_head]).repeat(episodes)
            terms["cross_entropy"] = F.cross_entropy(logits.flatten(0, 1) * factor, places)
        else:
            terms["cross_entropy"] = 0 * generated.sum()

        if len(labels) and len(tail):
            logits = (z @ self._rivals.T).index_copy(1, self.tail, z @ self.calibrated(tail.detach()).T)
            terms["calibration"] = F.cross_entropy(logits * factor, labels)
        else:
            terms["calibration"] = 0 * (self.log_gain + self.offset).sum()
        return terms

    def tail_rest(self) -> Tensor:
        """(T, D + 1): few-shot classifiers of the tail that have not seen the held-out images."""
        return self._rivals[self.tail]

    def calibrated(self, theta: Tensor) -> Tensor:
        """θ (T, D + 1) of the tail with the gain of its level, and the offset, in logits, on its bias."""
        level = self.level[self.tail]
        theta = theta * self.log_gain[level].exp().unsqueeze(1)
        return torch.cat([theta[:, :-1], theta[:, -1:] + (self.offset[level] / (self.scale * self.unit))[:, None]], 1)

    @torch.no_grad()
    def write(self, tail: Tensor) -> None:
        """Make the final classifier from the head's many-shot classifiers and ``tail`` (T, D + 1), calibrated."""
        theta = self.theta.index_copy(0, self.tail, self.calibrated(tail)) * (self.unit * self.scale)
        weight, bias = Whitening(self.mean, self.matrix).on_features(theta)
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) → logits (B, K) by the classifier that was written last."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.to(self.weight.dtype), self.weight, self.bias)
