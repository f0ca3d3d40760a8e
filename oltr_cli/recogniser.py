"""A finished run at work on images that no dataset lists: network, detector, threshold and class names.

The dataset it was trained on need not be there. ``oltr predict``, ``oltr export`` and ``oltr data active`` stand on it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from oltr_cli.data.transforms import DeviceTransform
from oltr_cli.detector import Detector, DetectorSetup, NetworkDetector
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.evaluate import read_tuned
from oltr_cli.method import Method
from oltr_cli.recipe_files import read_toml
from oltr_cli.registry import PLUS, load_detector, load_method
from oltr_cli.runs import Run, resolve_run, run_from_path
from oltr_cli.scores import SavedScores
from oltr_cli.specs import Recipe
from oltr_cli.task import load_best


@dataclass
class Recogniser:
    """Images in, a verdict on each out.

    Attributes:
        run: which run it is; ``base`` the trained one under it, where ``run`` is a detector's.
        network: the method with its best epoch's weights, in eval mode, on ``device``.
        detector: fitted, or None where confidences are the method's own.
        threshold: τ; a sample with a lower confidence is unknown. ``rule`` says who chose it.
        result: the run's result.json.
    """

    run: Run
    base: Run
    recipe: Recipe
    network: Method
    detector: Detector | None
    threshold: float
    rule: str
    result: dict[str, Any]
    device: torch.device

    def __post_init__(self) -> None:
        self.transform = DeviceTransform(self.recipe.data, self.device)

    @property
    def class_names(self) -> list[str]:
        """K names by label."""
        return list(self.result["class_names"])

    @property
    def class_counts(self) -> list[int]:
        """Training images of each of the K classes."""
        return list(self.result["class_counts"])

    @classmethod
    def load(cls, run: str | Path, device: str | torch.device = "cpu", threshold: float | None = None) -> "Recogniser":
        """The finished run that ``run`` names (a path, a name, a part of one).

        Args:
            threshold: τ to use; None takes what ``oltr tune threshold`` chose for the run, else the run's own.
        Raises:
            UsageProblem: no such run, or it is not finished.
            DataProblem: its folder lacks something or holds something else.
        """
        path = resolve_run(str(run)).resolve()
        one = run_from_path(path)
        if one is None:
            raise UsageProblem(f"{path} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
        result, base = _result(one), one
        method, _, detector_name = one.method.partition(PLUS)
        if detector_name:
            parent = run_from_path(one.root / str(result.get("starts_from")))
            if parent is None:
                raise DataProblem(f"{path / 'result.json'}: does not say on which run the detector stands")
            base = parent
        method_cls = load_method(method)
        detector_cls = load_detector(detector_name) if detector_name else None
        # The detector's parameters from the result: there they are as chosen, where candidates were tried.
        chosen = (result.get("detector") or {}).get("params")
        recipe = _recipe(path / "recipe.toml", method_cls, detector_cls, chosen)
        where = torch.device(device)
        network = load_best(base, method_cls, recipe, result["class_counts"]).to(where).eval()
        detector = None
        if detector_cls is not None and recipe.detector is not None:
            counts = tuple(int(c) for c in result["class_counts"])
            detector = detector_cls(DetectorSetup(counts, recipe.data.std, recipe.detector))
            if type(detector).fit is not Detector.fit:
                detector.fit(SavedScores.load(base.scores("train")))
        tau, rule = _threshold(path, result, threshold)
        return cls(one, base, recipe, network, detector, tau, rule, result, where)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> SavedScores:
        """Scores of uint8 images (B, 3, S, S) cut by ``evaluation_crop``: prediction, confidence, logits, features.

        ``confidence`` is the detector's where there is one; labels are −1 throughout, for nobody knows them.
        """
        inputs = self.transform.evaluate(images)
        if isinstance(self.detector, NetworkDetector):
            scores = self.detector.score_images(self.network, inputs)
        else:
            scores = self.network(inputs)
        logits = scores.logits.float().cpu().numpy()
        saved = SavedScores(
            logits.argmax(axis=1),
            scores.confidence.float().cpu().numpy(),
            np.full(len(logits), -1, np.int64),
            logits,
            scores.features.float().cpu().numpy(),
        )
        if self.detector is None or isinstance(self.detector, NetworkDetector):
            return saved
        judged = self.detector.score(saved)
        return replace(saved, prediction=judged.prediction, confidence=judged.confidence)


def _result(run: Run) -> dict[str, Any]:
    if run.status() != "done":
        raise UsageProblem(f"{run.name} is {run.status()}; finish it first: oltr run {run.method}")
    result = run.result()
    assert result is not None  # its status is done
    counts, names = result.get("class_counts"), result.get("class_names")
    if not isinstance(counts, list) or not isinstance(names, list) or len(counts) != len(names) or not counts:
        raise DataProblem(f"{run.path / 'result.json'}: class_counts and class_names do not fit together")
    return result


def _recipe(path: Path, method: type[Method], detector: type[Detector] | None, chosen: dict[str, Any] | None) -> Recipe:
    """The resolved recipe that a run keeps, with its parameters under the types that the method declares."""
    content = read_toml(path)
    try:
        content["params"] = method.Params(**content.get("params", {}))
        if detector is not None:
            content["detector"] = detector.Params(**(chosen or content.get("detector", {})))
        return Recipe(**content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataProblem(f"{path}: {key}: {first['msg']}; was the run made by another version?") from None


def _threshold(path: Path, result: dict[str, Any], given: float | None) -> tuple[float, str]:
    if given is not None:
        return given, "given"
    tuned, chosen_by = read_tuned(path)
    if tuned is not None:
        return tuned, f"tuned by {chosen_by}"
    own = result.get("threshold") or {}
    if not isinstance(own.get("value"), int | float):
        raise DataProblem(f"{path / 'result.json'}: holds no threshold; give one with --threshold")
    return float(own["value"]), str(own.get("rule"))
