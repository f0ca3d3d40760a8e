"""The loss of a batch, whatever the method is given for images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from oltr_cli.base.seeding import derive
from oltr_cli.data.feed.mixing import Mixing
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.networks.backbones import Given
from oltr_cli.training.contract import check_terms
from oltr_cli.training.shares import Shares


class Loss(nn.Module):
    """The method's loss as a module, which is what distributed wrappers and autocast hook into.

    Args:
        shares: of images, among processes; the loss is then that of the whole batch, and the same in each of them.
    """

    def __init__(self, method: Method, given: Given, shares: Shares | None = None) -> None:
        super().__init__()
        self.method, self.given, self.shares = method, given, shares

    def forward(self, inputs: Tensor, labels: Tensor, mixing: Mixing | None = None) -> dict[str, Tensor]:
        if isinstance(self.method, FeatureMethod):
            terms = self.method.feature_loss(inputs, labels)
            check_terms(self.method.feature_loss, terms)
            return terms
        if self.shares is None:
            return self._of_batch(inputs, labels, mixing)
        with self.method.backbone.gathering(self._gather(self.shares)):
            return self._of_batch(inputs, self.shares.gather(labels), mixing)

    def _gather(self, shares: Shares) -> Callable[[Tensor], Tensor]:
        """Dropout draws other masks for each share, and the same ones once the batch is whole."""
        seed = torch.initial_seed()
        torch.manual_seed(derive(seed, "share", shares.rank))

        def whole(tensor: Tensor) -> Tensor:
            torch.manual_seed(seed)
            return shares.whole(tensor)

        return whole

    def _of_batch(self, inputs: Tensor, labels: Tensor, mixing: Mixing | None) -> dict[str, Tensor]:
        if mixing is not None:
            return self._mixed(inputs, labels, mixing)
        return self._terms(inputs, labels, self.given)

    def _mixed(self, images: Tensor, labels: Tensor, mixing: Mixing) -> dict[str, Tensor]:
        """λ · loss with the own labels + (1 − λ) · loss with those that are mixed in; the backbone runs once."""
        backbone = self.method.backbone
        if self.shares is None:
            mixed = mixing.images(images)
        else:  # an image's partner may be another process's
            mixed = mixing.images(self.shares.gather(images))[self.shares.own]
        given: Given = "maps" if self.method.needs_map else "pooled"
        seen = backbone.feature_map(mixed) if given == "maps" else backbone.pooled(mixed)[..., None, None]
        own, other = (self._terms(seen, y, given) for y in (labels, mixing.labels(labels)))
        return {name: mixing.share * own[name] + (1 - mixing.share) * other[name] for name in own}

    def _terms(self, inputs: Tensor, labels: Tensor, given: Given) -> dict[str, Tensor]:
        with self.method.backbone.taking(given):
            terms = self.method.training_loss(inputs, labels)
        check_terms(self.method.training_loss, terms)
        return terms
