"""Whether a network can be exported, in the formats of ``oltr export``, and its files say what it says."""

import warnings

import numpy as np
import torch
from torch import Tensor

from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.inference.export import ABSOLUTE, RELATIVE, ConfidenceRule, Deployed, capture
from oltr_cli.inference.export_formats import SUFFIXES, from_bytes, require_packages, to_bytes
from oltr_cli.method import Method
from oltr_cli.recipe.data import DataSpec

BATCHES = (1, 2, 40)  # on either side of 25 rows, where torch.cdist takes another way


def compare_files(name: str, method: Method, confidence: ConfidenceRule | None) -> None:
    """Check that each format captures ``method`` and gives its scores for any number of images.

    A format whose packages are not installed is left out with a warning.

    Args:
        confidence: a detector's formula of the logits in place of the method's own confidence.
    """
    side = method.setup.image_size
    module = Deployed(method, DataSpec(name="conformance", image_size=side, eval_resize=side), confidence)
    try:
        program = capture(module, side, name)
    except OltrError as problem:
        raise AssertionError(str(problem)) from problem
    batches = [_pixels(batch, side) for batch in BATCHES]
    with torch.no_grad():
        wanted = [module(batch) for batch in batches]
    for kind in SUFFIXES:
        try:
            require_packages(kind)
        except UsageProblem as problem:
            warnings.warn(f"{name} was not exported to {kind}: {problem}", stacklevel=2)
            continue
        try:
            content = to_bytes(program, kind, {})
        except Exception as error:  # an operation that the format lacks can make the exporter fail in any way
            raise AssertionError(f"{name} cannot be exported to {kind}: {error}") from error
        answer = from_bytes(content, kind)
        if answer is None:
            warnings.warn(f"the {kind} file of {name} was not checked: onnxruntime is not installed", stacklevel=2)
            continue
        for pixels, outputs in zip(batches, wanted, strict=True):
            said = answer(pixels.numpy())
            for part in ("logits", "confidence", "features"):
                np.testing.assert_allclose(
                    said[part], outputs[part].numpy(), RELATIVE, ABSOLUTE, err_msg=f"{part} in the {kind} file"
                )


def _pixels(batch: int, side: int) -> Tensor:
    """Images (B, 3, S, S) uint8."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator)
