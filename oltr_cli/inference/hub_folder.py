"""A finished run as a folder that can be uploaded to a model hub as it is, and that oltr uses without the run.

Before the folder is put in place it is read back and used on a few images; its scores must be the run's, bit for bit.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from oltr_cli import __version__
from oltr_cli.base.display import Display
from oltr_cli.base.files import write_atomically, write_json, write_text
from oltr_cli.detector import Detector
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.inference.export import description
from oltr_cli.inference.hub_format import CARD, CONFIG, WEIGHTS, HubConfig
from oltr_cli.inference.model_card import model_card
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.recipe.backbones import HUB, TORCHVISION

CHECKED = 4  # images on which the folder is compared with the run


@dataclass(frozen=True)
class HubFolder:
    """The written folder; ``bytes`` by file name, ``about``: its config.json."""

    run: str
    folder: str
    format: str
    bytes: dict[str, int]
    about: dict[str, Any]


def default_folder(recogniser: Recogniser) -> str:
    """The run's name as a folder name."""
    return recogniser.run.name.replace("/", "-")


def export_folder(recogniser: Recogniser, folder: Path, display: Display, force: bool = False) -> HubFolder:
    """Write the run of ``recogniser``, which is on the CPU, to ``folder``.

    Args:
        force: replace its three files where the folder exists; others in it, such as .git, stay.
    Raises:
        UsageProblem: the folder exists, or is a file; the run's detector was fitted to saved scores.
        OltrError: it cannot be written, or its scores are not the run's; nothing is replaced then.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"--out {folder}: is a file, and a hub-folder is a folder")
    if folder.exists() and not force:
        raise UsageProblem(
            f"{folder} exists; replace {CONFIG}, {WEIGHTS} and {CARD} in it with --force, or name another folder with "
            "--out"
        )
    check_needs_no_fit(recogniser)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp") as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            with display.bar("writing the folder", 2, "steps") as bar:
                config = _write(recogniser, new, folder.name)
                bar.advance(title="reading it back")
                _check(recogniser, new)
            sizes = {name: (new / name).stat().st_size for name in (WEIGHTS, CONFIG, CARD)}
            if folder.exists():
                # The weights first: until config.json follows, its SHA-256 tells that they do not belong together.
                for name in (WEIGHTS, CARD, CONFIG):
                    (new / name).replace(folder / name)
            else:
                new.replace(folder)
    except OSError as error:
        raise OltrError(f"cannot write {folder}: {error.strerror or error}") from error
    return HubFolder(recogniser.run.name, str(folder), "hub-folder", sizes, config.as_json())


def check_needs_no_fit(recogniser: Recogniser) -> None:
    """Check that a detector can do without saved scores, which the folder does not hold.

    Raises:
        UsageProblem: it is fitted to them.
    """
    detector = recogniser.detector
    if detector is None:
        return
    cls = type(detector)
    fits = cls.fit is not Detector.fit or cls.calibrate is not Detector.calibrate
    if fits or detector.needs_head or detector.parts:
        own = " --own-confidence" if recogniser.run == recogniser.base else ""
        raise UsageProblem(
            f"{recogniser.run.name} cannot be exported: {detector.name} is fitted to saved scores, which the folder "
            f"does not hold; export the run without it: oltr export {recogniser.base.name} --to hub-folder{own}"
        )


def _write(recogniser: Recogniser, folder: Path, name: str) -> HubConfig:
    content = save(
        {
            # A copy of each: entries may share memory, or lie in it as channels last.
            entry: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for entry, value in recogniser.network.state_dict().items()
        },
        metadata={"format": "pt"},
    )
    config = _config(recogniser, hashlib.sha256(content).hexdigest())
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))
    write_text(folder / CARD, model_card(recogniser, name))
    write_json(folder / CONFIG, config.as_json())
    return config


def _config(recogniser: Recogniser, sha256: str) -> HubConfig:
    about = description(recogniser)
    about["preprocessing"]["normalisation"]["inside_the_file"] = False
    # Paths say nothing elsewhere, and may be private.
    recipe = recogniser.recipe.as_toml()
    recipe["data"] |= {"root": "", "lists": ""}
    weights = recogniser.recipe.backbone.weights
    if weights not in ("", HUB, TORCHVISION):
        recipe["backbone"]["weights"] = Path(weights).name
    return HubConfig(
        oltr_version=__version__,
        weights_sha256=sha256,
        recipe=recipe,
        detector=None if recogniser.detector is None else recogniser.detector.name,
        threshold=recogniser.chosen,
        class_names=recogniser.class_names,
        preprocessing=about["preprocessing"],
        outputs=about["outputs"],
        result=recogniser.result.model_copy(update={"undecodable": []}),
    )


def _check(recogniser: Recogniser, folder: Path) -> None:
    """OltrError if the folder's scores are not the run's, bit for bit."""
    side = recogniser.recipe.data.image_size
    drawn = np.random.default_rng(0).integers(0, 256, (CHECKED, 3, side, side), np.uint8)
    images = torch.from_numpy(drawn)
    wanted = recogniser.scores(images)
    read = Recogniser.load(folder, recogniser.device, by_choice=True)
    said = read.scores(images)
    for part in ("prediction", "confidence", "logits", "features"):
        if not np.array_equal(getattr(said, part), getattr(wanted, part), equal_nan=True):
            raise OltrError(f"{recogniser.run.name}: the {part} of the exported folder are not the run's; not written")
    if read.chosen != recogniser.chosen:
        raise OltrError(f"{recogniser.run.name}: the τ of the exported folder is not the run's; not written")
