"""A finished run for use on any images: network, detector, threshold and class names.

The dataset it was trained on is not needed. ``oltr predict``, ``oltr export`` and ``oltr data active`` use it.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.base.added_files import given_files
from oltr_cli.base.machine import precision
from oltr_cli.data.feed.transforms import DeviceTransform
from oltr_cli.detector import Detector, DetectorSetup, LinearHead, NetworkDetector
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.hub_format import CONFIG, WEIGHTS, is_hub_folder, read_config, read_weights
from oltr_cli.inference.rebuilding import network_of, recipe_of, typed_recipe
from oltr_cli.method import Explanation, FeatureMethod, Method, Scores
from oltr_cli.networks.layers import full_precision
from oltr_cli.planning.detectors import FitSources, fit_detector, load_chosen
from oltr_cli.planning.registry import PLUS, load_detector, load_method
from oltr_cli.planning.which_run import resolve_run
from oltr_cli.protocol.metrics import accepted
from oltr_cli.protocol.saved_thresholds import choice_threshold, saved_threshold
from oltr_cli.protocol.thresholds import ThresholdRule, choose
from oltr_cli.recipe.files import known_recipes, recorded_recipe
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.choices import ChosenThreshold, read_chosen_detector
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.runs.result import RESULT, RunResult
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.task import build_method, fill


@dataclass
class Recogniser:
    """Takes images and gives a verdict on each.

    Attributes:
        run: the run; ``base``: the trained run under it, if ``run`` is a detector's.
        network: the method with its best epoch's weights, in eval mode, on ``device``.
        detector: fitted, or None if confidences are the method's own.
        chosen: τ and the rule that chose it; a sample with a lower confidence is unknown.
    """

    run: Run
    base: Run
    recipe: Recipe
    network: Method
    detector: Detector | None
    chosen: ChosenThreshold
    result: RunResult
    device: torch.device

    def __post_init__(self) -> None:
        self.transform = DeviceTransform(self.recipe.data, self.device)
        # The precision in which a run scores its splits (see make_accelerator), or its threshold would not fit.
        self.half = precision(self.device) == "bf16"

    @property
    def threshold(self) -> float:
        """τ; if each class has its own, what their rule gives as one τ for all."""
        return self.chosen.value

    @property
    def rule(self) -> str:
        """How τ was chosen, in words."""
        return self.chosen.text

    @property
    def threshold_facts(self) -> dict[str, Any]:
        """τ for programs: value and rule, and ``by_class`` (K,) if each class has its own."""
        facts: dict[str, Any] = {"rule": self.rule, "value": self.threshold}
        return facts if self.chosen.by_class is None else {**facts, "by_class": self.chosen.by_class}

    @property
    def class_names(self) -> list[str]:
        """K names by label."""
        return self.result.class_names

    @property
    def class_counts(self) -> list[int]:
        """Training images of each of the K classes."""
        return self.result.class_counts

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str | torch.device = "cpu",
        threshold: float | str | None = None,
        by_choice: bool = False,
    ) -> "Recogniser":
        """The finished run that ``run`` names (see ``resolve_run``), or a folder that ``oltr export`` made of one.

        Args:
            by_choice: with the detector that ``oltr tune detector`` chose for the run, if it chose one.
            threshold: τ to use, or the rule by which to choose it from the run's validation scores; None takes what
                ``oltr tune threshold`` chose for the run, else the run's own.
        Raises:
            UsageProblem: no such run, or it is not finished; no such rule.
            DataProblem: its folder lacks files or holds other ones.
        """
        if is_hub_folder(folder := Path(run).expanduser()):
            return cls._of_folder(folder, torch.device(device), _rule(threshold), by_choice)
        path = resolve_run(str(run)).resolve()
        one = run_from_path(path)
        if one is None:
            raise UsageProblem(f"{path} is not a run's folder (runs/DATASET/METHOD/HASH-sSEED)")
        result, base = _result(one), one
        method, _, detector_name = one.method.partition(PLUS)
        choice = read_chosen_detector(path) if by_choice and not detector_name else None
        rule = _rule(threshold)
        if choice is None:
            saved = saved_threshold(path, result, rule)
        else:
            saved, detector_name = choice_threshold(path, result, choice, rule), choice.name
        if choice is None and detector_name:
            parent = run_from_path(one.root / str(result.starts_from))
            if parent is None:
                raise DataProblem(f"{path / RESULT}: does not name the run that the detector belongs to")
            base = parent
        method_cls = load_method(method)
        detector_cls: type[Detector] | None = None
        if choice is not None:
            detector_cls = load_chosen(one.name, choice.name)
        elif detector_name:
            detector_cls = load_detector(detector_name)
        # The detector's parameters from the result: they are there as chosen, if candidates were tried.
        params = result.detector.params if result.detector else choice.params if choice else None
        recipe = recipe_of(path / "recipe.toml", method_cls, detector_cls, params)
        where = torch.device(device)
        network = network_of(base, method_cls, recipe, result.class_counts).to(where).eval()
        detector = None
        if detector_cls is not None and recipe.detector is not None:
            detector = detector_cls(DetectorSetup(tuple(result.class_counts), recipe.data.std, recipe.detector))
            sources = FitSources(
                train=lambda: _scores_to_fit(base, "train", detector_name),
                val=lambda: _scores_to_fit(base, "val", detector_name),
                head=lambda: LinearHead.of(network),
            )
            fit_detector(detector, sources)

        def read(split: str) -> SavedScores:
            scores = SavedScores.load(one.scores(split))
            return detector.score(scores) if choice is not None and detector is not None else scores

        return cls(one, base, recipe, network, detector, _threshold(one, result, saved, read), result, where)

    @classmethod
    def _of_folder(
        cls, folder: Path, device: torch.device, rule: ThresholdRule | None, by_choice: bool
    ) -> "Recogniser":
        """What ``oltr export --to hub-folder`` wrote."""
        config = read_config(folder)
        result, run = config.result, config.run(folder)
        method, _, own_detector = run.method.partition(PLUS)
        method_cls = load_method(method)
        name = config.detector if by_choice else own_detector
        detector_cls = load_detector(name) if name else None
        recipe = typed_recipe(config.recipe, folder / CONFIG, method_cls, detector_cls, None)
        network = build_method(method_cls, recipe, result.class_counts, run.seed)
        fill(network, read_weights(folder, config), folder / WEIGHTS)
        detector = None
        if detector_cls is not None and recipe.detector is not None:
            detector = detector_cls(DetectorSetup(tuple(result.class_counts), recipe.data.std, recipe.detector))
            missing = partial(_not_in_folder, folder, detector_cls.registered_as)
            fit_detector(detector, FitSources(train=missing, val=missing, head=missing))
        # A τ is of one confidence.
        exported = config.threshold if (name or None) == config.detector else result.threshold
        chosen = _exported_threshold(folder, exported, result.threshold, rule)
        base = run_from_path(folder / (result.starts_from or "")) if own_detector else None
        return cls(run, base or run, recipe, network.to(device).eval(), detector, chosen, result, device)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> SavedScores:
        """Scores of uint8 images (B, 3, S, S) cut by ``evaluation_crop``: prediction, confidence, logits, features.

        ``confidence`` is the detector's if there is one; labels are −1 throughout, since they are unknown. On the
        device that the run was made on they equal what it saved for the same images, whatever the batch.
        """
        scores = self._judged(self.transform.evaluate(images))
        logits = scores.logits.float()
        saved = SavedScores(
            logits.argmax(dim=1).cpu().numpy(),
            scores.confidence.float().cpu().numpy(),
            np.full(len(logits), -1, np.int64),
            logits.cpu().numpy(),
            scores.features.float().cpu().numpy(),
        )
        if self.detector is None or isinstance(self.detector, NetworkDetector):
            return saved
        judged = self.detector.score(saved)
        return replace(saved, prediction=judged.prediction, confidence=judged.confidence)

    def unknown(self, scores: SavedScores) -> NDArray[np.bool_]:
        """Which samples (B,) are rejected at τ."""
        return ~accepted(scores, self.chosen.tau)

    @torch.inference_mode()
    def explain(self, scores: SavedScores, classes: int) -> Explanation | None:
        """An explanation of ``scores`` of this network, on the CPU; None if its method has none."""
        if scores.features is None:
            return None
        features = full_precision(torch.from_numpy(scores.features)).to(self.device)
        said = self.network.explain(features, classes)
        if said is None:
            return None
        parts = {name: part.cpu() for name, part in vars(said).items() if part is not None}
        return Explanation(**parts)

    def _judged(self, inputs: Tensor) -> Scores:
        """The network's scores, or a network detector's, in the precision of a run on this device."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            if isinstance(self.detector, NetworkDetector):
                return self.detector.score_images(self.network, inputs)
            if not isinstance(self.network, FeatureMethod):
                return self.network(inputs)
            features = self.network.backbone(inputs)
        return self.network.score_features(full_precision(features))


def _result(run: Run) -> RunResult:
    result = run.result()
    if result is None:
        method, _, detector = run.method.partition(PLUS)
        on_top = f" --detector {detector}" if detector else ""
        # A run's own recipe.toml is resolved, and oltr run does not take it.
        how = "finish it first, with the command that started it"
        if recorded_recipe(run.path).get("added"):
            how = "finish it first: repeat its oltr add-class command"
        elif run.dataset in known_recipes():
            how = f"finish it first: oltr run {method}{on_top} --dataset {shlex.quote(run.dataset)}{given_files()}"
        raise UsageProblem(f"{run.name} is {run.status()}; {how}")
    return result


def _exported_threshold(
    folder: Path, exported: ChosenThreshold, own: ChosenThreshold, rule: ThresholdRule | None
) -> ChosenThreshold:
    """τ of an exported folder, which has no scores by which another one could be chosen."""
    if rule is None or (rule.name == "tuned" == exported.rule):
        return exported
    if rule.name == "own":
        return own
    if rule.name != "fixed":
        raise UsageProblem(
            f"threshold {rule.text}: {folder} has no saved scores to choose τ from; give a number, or export the run "
            f"again with --threshold {rule.text}"
        )
    return choose(rule, [], val=None, open_val=None)


def _not_in_folder(folder: Path, detector: str) -> NoReturn:
    raise DataProblem(f"{folder / CONFIG}: names the detector {detector}, which is fitted to scores that it lacks")


def _scores_to_fit(run: Run, split: str, detector: str) -> SavedScores:
    try:
        return SavedScores.load(run.scores(split))
    except DataProblem as problem:
        missing = split == "train" and not run.scores(split).exists()
        how = f". To make it: oltr tune detector {shlex.quote(run.name)}{given_files()}" if missing else ""
        raise DataProblem(f"{problem}; {detector} is fitted to it{how}") from None


def _rule(given: float | str | None) -> ThresholdRule | None:
    rule = None if given is None else ThresholdRule.parse(str(given))
    if rule is not None and rule.marks_test_leak:
        raise UsageProblem(f"threshold {rule.text} reads the labels of the test set; use val_open or id_quantile:0.95")
    return rule


def _threshold(
    run: Run, result: RunResult, saved: ChosenThreshold | ThresholdRule, read: Callable[[str], SavedScores]
) -> ChosenThreshold:
    """τ as it was saved, or by a rule from the scores that ``read`` gives of a split."""
    if not isinstance(saved, ThresholdRule):
        return saved
    val, open_val = (
        read(split) if split in saved.splits and run.scores(split).exists() else None for split in ("val", "open_val")
    )
    return choose(saved, result.class_counts, result.shots, val=val, open_val=open_val)
