"""The folder that ``oltr export --to hub-folder`` writes: its files, and reading them without trusting them.

=================  ===============================================================================
config.json        what the network is rebuilt from, and the SHA-256 of the weights
model.safetensors  all weights of the run's best epoch
README.md          for readers: the model card
=================  ===============================================================================

config.json is the last one to be written. Nothing in the folder is executed.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from oltr_cli.base.digests import CHANGED, ON_PURPOSE
from oltr_cli.base.files import check_regular, read_json
from oltr_cli.errors import DataProblem, UsageProblem, first_line
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.folder import Run
from oltr_cli.runs.records import Record
from oltr_cli.runs.result import RunResult

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT, VERSION = "oltr-model", 1


class HubConfig(Record):
    """config.json.

    Attributes:
        weights_sha256: of model.safetensors, in hexadecimal digits.
        recipe: the resolved recipe without places on a disk.
        detector: whose confidence it is; None if it is the method's own.
        threshold: τ for that confidence.
        class_names: (K,), by label.
        preprocessing, outputs: in words and numbers, for readers; ``recipe`` counts.
        result: that of the run; its ``threshold`` is the run's own.
    """

    format: Literal["oltr-model"] = "oltr-model"
    format_version: int = VERSION
    oltr_version: str
    weights_sha256: str
    recipe: dict[str, Any]
    detector: str | None = None
    threshold: ChosenThreshold
    class_names: list[str]
    preprocessing: dict[str, Any]
    outputs: dict[str, str]
    result: RunResult

    def run(self, folder: Path) -> Run:
        """The run that was exported; it has the name, and of its files only those that are in ``folder``."""
        result = self.result
        return Run(folder, result.dataset, result.method, result.hash, result.seed)


def is_hub_folder(path: Path) -> bool:
    """Whether ``path`` is meant as an exported folder: it has one of its two files, and is no run."""
    return any((path / name).exists() for name in (CONFIG, WEIGHTS)) and not (path / "recipe.toml").exists()


def refuse_hub_folder(text: str) -> None:
    """Refuse an exported folder where a run is needed.

    Raises:
        UsageProblem: ``text`` names one.
    """
    if is_hub_folder(Path(text).expanduser()):
        raise UsageProblem(
            f"{text}: is a folder for a model hub, which has no saved scores; name the run (oltr ls runs). The figures "
            "of the run are in its README.md"
        )


def read_config(folder: Path) -> HubConfig:
    """The checked config.json of an exported folder.

    Raises:
        DataProblem: it is missing, damaged, not of oltr, or of a later version.
    """
    path = folder / CONFIG
    if not path.exists():
        raise DataProblem(f"{path}: missing; download the whole folder")
    check_regular(path)
    content = read_json(path)
    if content is None:
        raise DataProblem(f"{path}: is {CHANGED}; export the run again, or, {ON_PURPOSE}")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataProblem(f"{path}: is not of a model that oltr exported (oltr export RUN --to hub-folder)")
    version = content.get("format_version")
    if not isinstance(version, int) or version > VERSION:
        raise DataProblem(f"{path}: has format version {str(version)[:20]}, and this oltr reads {VERSION}; update oltr")
    try:
        config = HubConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataProblem(f"{path}: {where}: {' '.join(first['msg'].split())[:200]}") from None
    for what, values in {"class names": config.class_names, "thresholds": config.threshold.by_class}.items():
        if values is not None and len(values) != len(config.result.class_counts):
            raise DataProblem(f"{path}: has {len(values)} {what} for {len(config.result.class_counts)} classes")
    return config.model_copy(update={"result": config.result.model_copy(update={"class_names": config.class_names})})


def read_weights(folder: Path, config: HubConfig) -> "dict[str, Tensor]":
    """The entries of the network's state dict, on the CPU.

    Raises:
        DataProblem: the file is missing, or not the one that was exported with ``config``.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    check_regular(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != config.weights_sha256:
            raise DataProblem(
                f"{path}: is not the file that {CONFIG} was written for (its SHA-256 differs): it is damaged or "
                "incomplete, or a pointer that git lfs has not replaced yet; download it again"
            )
        return load_file(path)
    except FileNotFoundError:
        raise DataProblem(f"{path}: missing; download the whole folder") from None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataProblem:
        raise
    except Exception as error:  # bytes that are not such a file can make the reader fail in any way
        raise DataProblem(f"{path}: is not a file of weights ({first_line(error)})") from None
