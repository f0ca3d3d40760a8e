"""A finished run as one file that gives the same scores without oltr: for onnxruntime, or for torch alone.

The file takes uint8 images that were resized and cropped. Normalisation is inside: leaving it to users is a common
cause of silent errors in deployed networks. How to resize and crop, and what the numbers mean (class names, threshold),
is in the file as one JSON object under the key ``oltr``.

Before a file is put in place it is read back and run on a few images; its scores must be the run's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oltr_cli import __version__
from oltr_cli.base.added_code import place_of
from oltr_cli.base.display import Display
from oltr_cli.base.files import write_atomically
from oltr_cli.detector import LogitDetector
from oltr_cli.errors import OltrError, UsageProblem, first_line
from oltr_cli.inference.export_check import saved_sample
from oltr_cli.inference.export_formats import SUFFIXES, Format, from_bytes, to_bytes
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Method
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.scores import SavedScores

RELATIVE, ABSOLUTE = 1e-3, 1e-4  # a score may differ by this much: kernels sum in different orders
CHECKED = (5, 1)  # batch sizes with which the written file is checked

ConfidenceRule = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """The written file.

    Attributes:
        checked_with: the runtime that read the file back and agreed with the run; None if it is not installed.
        difference: largest absolute difference of logits, confidences and features in that check.
        from_saved: the same of logits from those saved with the run's test images; None where these are not there.
    """

    run: str
    file: str
    format: Format
    bytes: int
    about: dict[str, Any]
    checked_with: Literal["torch", "onnxruntime"] | None
    difference: float | None
    from_saved: float | None


class Deployed(nn.Module):
    """The network as in the file: uint8 images (B, 3, S, S) to outputs by name.

    They are logits (B, K), confidence (B,), prediction (B,) int64 and features (B, D), all but prediction float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Method, spec: DataSpec, confidence: ConfidenceRule | None) -> None:
        super().__init__()
        # Files contain plain weights: no gradient, and the default memory format rather than channels last.
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
        self.confidence = confidence
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # The memory format must be that of the capture: arrays of photographs are often channels last.
        pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
        scores = self.network((pixels / 255 - self.mean) / self.std)
        logits = scores.logits.float()
        confidence = scores.confidence if self.confidence is None else self.confidence(logits)
        # onnxruntime's maximum drops NaN (1.32): a network that overflowed would look like one that knows.
        confidence = confidence + 0.0 * logits.sum(dim=1)
        return {
            "logits": logits,
            "confidence": confidence.float(),
            "prediction": logits.argmax(dim=1),
            "features": scores.features.float(),
        }


def export_run(recogniser: Recogniser, kind: Format, file: Path, display: Display, force: bool = False) -> Exported:
    """Write the run of ``recogniser``, which is on the CPU, to ``file``.

    Raises:
        UsageProblem: the file exists, has another format's suffix, or the run's detector cannot be exported.
        OltrError: the method's forward cannot be captured, or the file's scores are not the run's; nothing is written.
    """
    _check_target(file, kind, force)
    confidence = confidence_rule(recogniser)
    spec = recogniser.recipe.data
    images = [_images(batch, spec.image_size) for batch in CHECKED]
    wanted = [recogniser.scores(torch.from_numpy(batch)) for batch in images]
    about = description(recogniser)
    with display.bar("capturing the network", 3, "steps") as bar:
        program = capture(Deployed(recogniser.network, spec, confidence), spec.image_size, recogniser.run.name)
        bar.advance(title=f"writing {kind}")
        content = to_bytes(program, kind, about)
        bar.advance(title="reading it back")
        answer = from_bytes(content, kind)
        checked_with: Literal["torch", "onnxruntime"] | None = None
        difference = from_saved = None
        if answer is not None:
            checked_with = "torch" if kind == "torch" else "onnxruntime"
            pairs = zip(images, wanted, strict=True)
            difference = max(_difference(answer(batch), scores, recogniser.run.name) for batch, scores in pairs)
            if (sample := saved_sample(recogniser)) is not None:
                from_saved = sample.check(answer, recogniser.run.name)
    write_atomically(file, lambda out: out.write(content))
    return Exported(recogniser.run.name, str(file), kind, len(content), about, checked_with, difference, from_saved)


def default_file(recogniser: Recogniser, kind: Format) -> str:
    """The run's name as a file name."""
    return recogniser.run.name.replace("/", "-") + SUFFIXES[kind]


def confidence_rule(recogniser: Recogniser) -> ConfidenceRule | None:
    """The formula of confidence (B,) from logits (B, K); None if the network computes it.

    Raises:
        UsageProblem: the run's detector is not a formula of the logits.
    """
    detector = recogniser.detector
    if detector is None:
        return None
    if not isinstance(detector, LogitDetector):
        own = " --own-confidence" if recogniser.run == recogniser.base else ""
        raise UsageProblem(
            f"{recogniser.run.name} cannot be exported: {detector.name} is not a formula of the logits alone (a "
            f"LogitDetector, such as energy); export the run without it: oltr export {recogniser.base.name}{own}"
        )
    return detector.from_logits


def description(recogniser: Recogniser) -> dict[str, Any]:
    """What a user of the file must know; saved in it under the key ``oltr``."""
    spec, run = recogniser.recipe.data, recogniser.run
    side = spec.image_size
    return {
        "run": run.name,
        "method": run.method,
        "dataset": run.dataset,
        "recipe_hash": run.hash,
        "seed": run.seed,
        "oltr_version": __version__,
        "class_names": recogniser.class_names,
        # The float32 that confidences are compared with: the verdict is then the same in any precision.
        "threshold": _threshold(recogniser),
        "preprocessing": {
            "orientation": "turned upright by the EXIF tag; transparent parts on white",
            "color": "RGB",
            "resize_shorter_side": spec.eval_resize,
            "interpolation": spec.interpolation or "bilinear",
            "antialias": True,
            "center_crop": side,
            "input": f"uint8 (batch, 3, {side}, {side}), 0 to 255",
            "normalisation": {"inside_the_file": True, "mean": list(spec.mean), "std": list(spec.std)},
        },
        "outputs": {
            "logits": f"float32 (batch, {len(recogniser.class_names)})",
            "confidence": "float32 (batch,), higher = known; unknown where below the threshold"
            + (" of the predicted class, by_class[prediction]" if recogniser.chosen.by_class else ""),
            "prediction": "int64 (batch,), index into class_names, before any rejection",
            "features": "float32 (batch, D)",
        },
    }


def _threshold(recogniser: Recogniser) -> dict[str, Any]:
    facts = {"value": float(np.float32(recogniser.threshold)), "rule": recogniser.rule}
    by_class = recogniser.chosen.by_class
    return facts if by_class is None else {**facts, "by_class": np.asarray(by_class, np.float32).tolist()}


@torch.no_grad()
def capture(module: Deployed, side: int, name: str) -> "torch.export.ExportedProgram":
    """The computation of ``module`` for any number of images of ``side`` pixels.

    Raises:
        OltrError: its forward cannot be captured; ``name`` is the run named in the message.
    """
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
        # To plain operations, without decomposing any: blocks such as ``with torch.autocast`` cannot be read back.
        program = program.run_decompositions({})
    except Exception as error:  # unsupported code can make the exporter fail in any way
        raise OltrError(
            f"{name} cannot be exported: its forward cannot be captured by torch.export ({why_not_captured(error)})"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, which are private
    return program


def why_not_captured(error: Exception) -> str:
    """What torch.export says is wrong, and what to write instead where a common cause is known."""
    guard = re.search(r"generated guard (.+)", str(error))
    place = place_of(error)
    where = f"; at {place}" if place else ""
    if guard is None:
        return f"{first_line(error)}{where}"
    limits = re.sub(r"L\['\w+'\]\.size\(\)\[0\]", "batch", guard.group(1))
    return (
        f"it takes another way by the number of images: what was captured holds only for {limits}{where}. torch.cdist "
        "does so above 25 rows; write squared distances as a product: "
        "x.square().sum(1, keepdim=True) - 2 * x @ c.T + c.square().sum(1)"
    )


def _check_target(file: Path, kind: Format, force: bool) -> None:
    if (ending := file.suffix.lower()) != SUFFIXES[kind]:
        meant = next((f"; for {ending} add --to {to}" for to, s in SUFFIXES.items() if s == ending), "")
        raise UsageProblem(f"--out {file}: a file for {kind} ends in {SUFFIXES[kind]}{meant}")
    if file.is_dir():
        raise UsageProblem(f"--out {file}: is a folder")
    if file.exists() and not force:
        raise UsageProblem(f"{file} exists; replace it with --force, or name another file with --out")


def _images(batch: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, 3, side, side), np.uint8)


def _difference(answer: dict[str, NDArray[Any]], scores: SavedScores, name: str) -> float:
    """The largest absolute difference; OltrError if it is too large."""
    assert scores.logits is not None
    assert scores.features is not None
    wanted = {"logits": scores.logits, "confidence": scores.confidence, "features": scores.features}
    for part, values in wanted.items():
        if not np.allclose(answer[part], values, RELATIVE, ABSOLUTE):
            largest = np.abs(answer[part] - values).max()
            raise OltrError(
                f"{name}: the {part} of the exported file differ from the run's by {largest:.3g}; not written"
            )
    return max(float(np.abs(answer[part] - values).max()) for part, values in wanted.items())
