"""Features of any images, by the network of a finished run or by a backbone with weights from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.files import write_atomically
from oltr_cli.base.machine import precision
from oltr_cli.base.text import counted
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.errors import DataProblem, NotFinite, OltrError, UsageProblem
from oltr_cli.inference.hub_format import is_hub_folder
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.networks.pretrained import load_named_weights
from oltr_cli.networks.timm_data import data_of
from oltr_cli.planning.registry import PLUS
from oltr_cli.planning.which_run import parent_of
from oltr_cli.recipe.backbones import HUB
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import PREFIX
from oltr_cli.runs.folder import run_from_path


@dataclass(frozen=True)
class Embedder:
    """Turns images into features.

    Attributes:
        name: of the run or the backbone.
        data: how an image is resized, cropped and normalised.
        features: of uint8 crops (B, 3, S, S): (B, D) float32.
        loaded: what was taken from the weights of a backbone, in one line; "" for a run.
    """

    name: str
    data: DataSpec
    features: Callable[[Tensor], NDArray[np.floating]]
    loaded: str = ""

    @classmethod
    def of_run(cls, path: Path, device: torch.device) -> "Embedder":
        """The network of a finished run or exported folder, with the features of its saved scores.

        Of a detector it is the one under it.

        Raises:
            UsageProblem, DataProblem: as ``Recogniser.load``.
        """
        run = None if is_hub_folder(path) else run_from_path(path.resolve())
        if run is not None and PLUS in run.method:
            run = parent_of(run)
            if run is None:
                raise DataProblem(f"{path}: does not name the run that the detector belongs to")
            path = run.path
        return cls.of(Recogniser.load(path, device))

    @classmethod
    def of(cls, recogniser: Recogniser) -> "Embedder":
        """The network of a run that is loaded."""
        plain = replace(recogniser, detector=None)  # one on the network would run it a second time, on other pixels

        def features(images: Tensor) -> NDArray[np.floating]:
            scores = plain.scores(images)
            assert scores.features is not None
            return scores.features

        return cls(recogniser.run.name, recogniser.recipe.data, features)

    @classmethod
    def of_backbone(
        cls, spec: BackboneSpec, device: torch.device, image_size: int | None = None, quiet: bool = False
    ) -> "Embedder":
        """A backbone with the weights that ``spec`` names; images as its weights want them, if timm knows.

        Args:
            image_size: pixels; None for the network's own, or 224.
        Raises:
            UsageProblem: no such backbone or weights, or it does not take images of this size.
            DataProblem, OltrError: the weights cannot be read or downloaded.
        """
        if spec.weights == HUB and not spec.name.startswith(PREFIX):
            raise UsageProblem(f"--weights hub: the hub has those of {PREFIX}NAME, not of {spec.name}; give a file")
        size = image_size or 224
        usual = {"image_size": size, "eval_resize": max(size, round(size * 256 / 224))}
        known = data_of(spec.name, image_size) if spec.name.startswith(PREFIX) else {}
        data = DataSpec(name="images", **(known or usual))
        backbone = build_backbone(spec)
        backbone.check_image_size(data.image_size)
        report = load_named_weights(backbone, spec, quiet)
        if not backbone.contiguous:
            backbone = backbone.to(memory_format=torch.channels_last)
        backbone = backbone.to(device).eval()
        transform = DeviceTransform(data, device)
        half = precision(device) == "bf16"

        @torch.inference_mode()
        def features(images: Tensor) -> NDArray[np.floating]:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return backbone(transform.evaluate(images)).float().cpu().numpy()

        return cls(spec.name, data, features, report.summary())


@dataclass
class Embedded:
    """What was written: the number of images, D, and path and problem of each image that was left out."""

    images: int = 0
    size: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


def embed(
    embedder: Embedder,
    stream: ImageStream,
    file: Path,
    failed: Callable[[str, str], None] = lambda path, problem: None,
    advance: Callable[[int], None] = lambda images: None,
) -> Embedded:
    """Write ``features`` (N, D) float32 and ``paths`` (N,) of the images that can be decoded to ``file`` (.npz).

    The features wait in a file without a name beside it, so memory does not grow with N.

    Args:
        failed: called with path and problem of each image that is left out; ``advance`` with the number of images done.
    Raises:
        NotFinite: features contain NaN or infinity; nothing is written.
        OltrError: no image can be decoded, or the disk is full or cannot be written.
    """
    done = Embedded()
    paths: list[str] = []
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=file.parent) as rows:
            for batch in stream:
                for source in batch.sources:
                    if source.problem:
                        done.failed.append({"path": source.path, "error": source.problem})
                        failed(source.path, source.problem)
                    else:
                        paths.append(source.path)
                if len(batch.crops):
                    features = np.ascontiguousarray(embedder.features(torch.from_numpy(batch.crops)), np.float32)
                    if not np.isfinite(features).all():
                        raise NotFinite(f"{embedder.name}: features contain NaN or infinity; {file} is not written")
                    done.size = features.shape[1]
                    rows.write(features.data)
                advance(len(batch.sources))
            done.images = len(paths)
            if not paths:
                raise OltrError(f"{counted(len(done.failed), 'image')}, of which none can be read; {file} not written")
            rows.flush()
            kept = np.memmap(rows, np.float32, "r", shape=(done.images, done.size))
            names = np.array(paths, np.str_)
            write_atomically(file, lambda out: np.savez(out, features=kept, paths=names))
    except OSError as error:
        raise OltrError(f"cannot write {file}: {error.strerror or error}") from error
    return done
