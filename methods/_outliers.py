"""What methods share that train on outliers, the images with the label −1 of a batch."""

from torch import Tensor


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the values (B,) where the mask ``chosen`` (B,) holds; 0 where it holds nowhere.

    Selecting rows by the mask would wait for a GPU.
    """
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
