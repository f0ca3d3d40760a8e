"""Detectors on a finished run of a trained method, from its saved scores alone: nothing is trained, no image is read.

``oltr run METHOD --detector NAME`` makes a run of one detector. Here any number of them rescore the same saved samples
one after the other, and what they share is read once.
"""

import shlex
from dataclasses import replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from oltr_cli.base.added_files import given_files
from oltr_cli.detector import Detector, DetectorSetup, LinearHead, NetworkDetector
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference.rebuilding import network_of, recipe_of
from oltr_cli.planning.detectors import FitSources, fit_detector
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import PLUS, list_methods, load_detector, load_method
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult
from oltr_cli.runs.scores import SavedScores


class NoTrainingScores(DataProblem):
    """A detector is fitted to the training set, whose scores were not saved; ``command`` makes them."""

    def __init__(self, run: Run, detector: str) -> None:
        self.command = f"oltr tune detector {shlex.quote(run.name)}{given_files()}"
        super().__init__(f"{run.scores('train')}: missing; {detector} is fitted to it. To make it: {self.command}")


class NeedsImages(UsageProblem):
    """A detector runs the network, and saved scores are not enough; ``command`` makes a run of it, if it is known."""

    def __init__(self, run: Run, detector: str) -> None:
        self.command = run_command(run, detector)
        how = self.command or f"repeat the oltr run command of {run.name} with --detector {detector}"
        super().__init__(f"{detector} needs the images and the network; saved scores are not enough: {how}")


def detector_names() -> list[str]:
    """All detectors that can be used, built-in and added, by name."""
    return [name for name, info in list_methods().items() if info.kind == "detector" and info.family != "broken"]


def run_command(run: Run, detector: str) -> str | None:
    """The ``oltr run`` that makes a run of ``detector`` on ``run``; None if ``run`` has other settings than its recipe
    as it is now, for which the command would train another run."""
    try:
        if plan(run.method, run.dataset, [], run.seed)[-1].run.name != run.name:
            return None
    except OltrError:  # there is no such recipe, or it is broken
        return None
    seed = f" --seed {run.seed}" if run.seed else ""
    return f"oltr run {run.method} --detector {detector} --dataset {shlex.quote(run.dataset)}{seed}{given_files()}"


class Rescoring:
    """The saved scores of one finished run, and detectors fitted to them.

    Args:
        run: of a trained method.
        result: of it.
    """

    def __init__(self, run: Run, result: RunResult) -> None:
        self.run, self.result = run, result
        self._splits: dict[str, SavedScores] = {}
        self._parts: dict[str, Detector] = {}  # of detectors that combine others

    def has(self, split: str) -> bool:
        """Whether the scores of ``split`` were saved."""
        return split in self._splits or self.run.scores(split).exists()

    def split(self, name: str) -> SavedScores:
        """The saved scores of a split, read once.

        Raises:
            DataProblem: missing or broken.
        """
        if name not in self._splits:
            self._splits[name] = SavedScores.load(self.run.scores(name))
        return self._splits[name]

    def fitted(self, name: str, params: dict[str, Any] | None = None) -> Detector:
        """The detector ``name``, fitted.

        Args:
            params: its parameters; None takes its defaults.

        Raises:
            NeedsImages, NoTrainingScores: see these.
            UsageProblem: it does not apply to the method, or there is no such detector.
            DataProblem: scores that it reads are missing or broken, or the parameters are not its own.
        """
        if params is None and name in self._parts:
            return self._parts[name]
        cls = load_detector(name)
        if issubclass(cls, NetworkDetector):
            raise NeedsImages(self.run, name)
        try:
            chosen = cls.Params.model_validate(params or {})
        except ValidationError as error:
            raise DataProblem(f"{self.run.name}: parameters of {name}: {error.errors()[0]['msg']}") from None
        detector = cls(DetectorSetup(tuple(self.result.class_counts), self._recipe.data.std, chosen))
        sources = FitSources(lambda: self._train(name), lambda: self.split("val"), lambda: self._head, self._parts)
        fit_detector(detector, sources)
        return detector

    def scores(self, detector: Detector, split: str) -> SavedScores:
        """The detector's prediction and confidence for a split, without logits and features; see ``Detector.score``."""
        return replace(detector.score(self.split(split)), logits=None, features=None)

    def _train(self, detector: str) -> SavedScores:
        if not self.has("train"):
            raise NoTrainingScores(self.run, detector)
        return self.split("train")

    @cached_property
    def _recipe(self) -> Any:
        method = load_method(self.run.method.partition(PLUS)[0])
        return recipe_of(self.run.path / "recipe.toml", method, None, None)

    @cached_property
    def _head(self) -> LinearHead | None:
        method = load_method(self.run.method.partition(PLUS)[0])
        return LinearHead.of(network_of(self.run, method, self._recipe, self.result.class_counts).eval())
