"""Fitting a detector: it is given all that it asks for, and nothing else is computed."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from oltr_cli.detector import Detector, LinearHead, NetworkDetector
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.planning.registry import list_methods, load_detector
from oltr_cli.runs.scores import SavedScores


@dataclass(frozen=True)
class FitSources:
    """What a detector may be fitted to; each function is called only if the detector needs its result.

    Attributes:
        train: scores of the training set.
        val: scores of the closed validation split.
        head: the method's linear classifier; None if it has none.
        parts: name → detectors with default parameters that were fitted to the same as a part of another; used again,
            and added to.
    """

    train: Callable[[], SavedScores]
    val: Callable[[], SavedScores]
    head: Callable[[], LinearHead | None]
    parts: dict[str, Detector] = field(default_factory=dict)


def fit_detector(detector: Detector, sources: FitSources) -> None:
    """Fit the parts of ``detector``, if it combines others, and then the detector itself.

    Raises:
        UsageProblem: it needs a linear classifier, and the method has none; its parts cannot be combined.
        DataProblem: the scores lack what it reads, or are not finite.
    """
    classes = part_classes(type(detector), detector.setup.params)
    for cls in classes:
        if cls.registered_as not in sources.parts:
            part = cls(replace(detector.setup, params=cls.Params()))
            fit_detector(part, sources)
            sources.parts[cls.registered_as] = part
    detector.parts = [sources.parts[cls.registered_as] for cls in classes]
    fits = type(detector).fit is not Detector.fit
    if fits or detector.needs_head:
        head = sources.head() if detector.needs_head else None
        if detector.needs_head and head is None:  # known before the training set is scored, which takes long
            raise _no_linear_head(detector.name)
        train = sources.train()
        if head is not None:
            detector.head = _checked(detector, train, head)
        if fits:
            detector.fit(train)
    if type(detector).calibrate is not Detector.calibrate:
        detector.calibrate(sources.val())


def load_chosen(run: str, name: str) -> type[Detector]:
    """The class of the detector that ``oltr tune detector`` chose for a run.

    Raises:
        UsageProblem: as ``load_detector``; or it was added, and its file is not given.
    """
    if name not in list_methods():
        again = f"oltr tune detector {shlex.quote(run)}"
        raise UsageProblem(
            f"{run}: {name} was chosen as its detector, and there is none of that name now; give its file with "
            f"--methods-from, choose again with: {again}, or take the choice back with: {again} --reset"
        )
    return load_detector(name)


def part_classes(cls: type, params: Any) -> list[type[Detector]]:
    """The classes of the detectors that a detector with these parameters combines; none for most.

    Raises:
        UsageProblem: there is no such detector, it is named twice, or it needs the network or combines others itself.
    """
    assert issubclass(cls, Detector)
    found: list[type[Detector]] = []
    names = cls.combines(params)
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageProblem(f"{cls.registered_as} combines different detectors, and {name} is named twice")
        part = load_detector(name)
        if issubclass(part, NetworkDetector):
            raise UsageProblem(f"{cls.registered_as} reads saved scores, and {name} needs the network; name another")
        if part.combines(part.Params()):
            raise UsageProblem(f"{cls.registered_as} cannot contain {name}, which combines detectors itself")
        found.append(part)
    return found


def check_pair(cls: type, params: Any, method: type) -> None:
    """Refuse what ``fit_detector`` would, as far as the classes show it.

    Raises:
        UsageProblem: as ``part_classes``; or a linear classifier is needed, and the method never has one.
    """
    from oltr_cli.method import Method

    parts = part_classes(cls, params)
    assert issubclass(cls, Detector)
    if issubclass(method, Method) and method.linear_head is Method.linear_head:
        for detector in (cls, *parts):
            if detector.needs_head:
                raise _no_linear_head(detector.registered_as)


def _checked(detector: Detector, train: SavedScores, head: LinearHead) -> LinearHead:
    """The method's linear classifier, if its logits are those of the training scores."""
    if train.features is None or train.logits is None:
        missing = "features" if train.features is None else "logits"
        raise DataProblem(f"{detector.name} reads the {missing}, and these scores have none")
    detector.require(train)
    if not head.fits(train):
        raise _no_linear_head(detector.name)
    return head


def _no_linear_head(detector: str) -> UsageProblem:
    return UsageProblem(
        f"{detector} needs a linear classifier on the saved features, and this method has another one, such "
        "as a cosine classifier or a memory; use energy, gen, knn or relative-mahalanobis instead"
    )
