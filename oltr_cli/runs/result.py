"""result.json: the outcome of a run that has ended; threshold.json and detector.json: what was tuned for it later.

All are read and written only here. Files of earlier versions lack newer fields, which have defaults; fields without a
default were written by every version.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from oltr_cli.base.digests import CHANGED, ON_PURPOSE, without_digest
from oltr_cli.base.files import write_json
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.runs.class_names import read_class_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESULT, TUNED, CHOSEN = "result.json", "threshold.json", "detector.json"

Metrics = dict[str, FiniteFloat | None]  # by name, None if it cannot be computed; see oltr_cli.protocol.catalogue
Count = Annotated[int, Field(ge=0, lt=2**63)]
T = TypeVar("T")


class Record(BaseModel):
    """Plain values with fixed names, as in JSON."""

    model_config = ConfigDict(frozen=True)
    ABSENT: ClassVar[frozenset[str]] = frozenset()  # fields that are left out of JSON if they are None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key not in self.ABSENT}

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file or ``--json``."""
        return self.model_dump(mode="json")


class Pooled(Record):
    """Where a rule by class has too few validation images for a τ of its own.

    Attributes:
        groups: shot groups with the one τ of all.
        classes: number of classes with the τ of their group.
    """

    groups: list[str] = []
    classes: int = 0

    @property
    def text(self) -> str:
        """Which classes these are, and what they have, in words."""
        of_groups = [f"{' and '.join(self.groups)}-shot classes, which have the one τ of all"] if self.groups else []
        of_classes = [f"{counted(self.classes, 'class')}, with that of the shot group"] if self.classes else []
        return "too few validation images for a τ of their own: " + "; ".join([*of_groups, *of_classes])


class ChosenThreshold(Record):
    """τ and the rule that chose it.

    Attributes:
        value: τ; of a rule by class, what its share gives as one τ for all classes.
        chosen_by: for the rule ``tuned``, the rule used for tuning.
        by_class: τ of each predicted class (K,), if it is a rule by class.
        pooled: the classes without a τ of their own, if there are any.
    """

    ABSENT = frozenset({"chosen_by", "by_class", "pooled"})

    rule: str
    value: FiniteFloat
    chosen_by: str | None = None
    by_class: list[FiniteFloat] | None = None
    pooled: Pooled | None = None

    @property
    def tau(self) -> "float | NDArray[np.float64]":
        """What confidences are compared with: a number, or one for each predicted class (K,)."""
        if self.by_class is None:
            return self.value
        import numpy as np  # the shell's completion reads results, and does without

        return np.asarray(self.by_class, np.float64)

    @property
    def shown(self) -> str:
        """``0.1``, or the range of those by class: ``0.1 … 0.7 by class``."""
        if not self.by_class:
            return f"{self.value:.6g}"
        return f"{min(self.by_class):.4g} … {max(self.by_class):.4g} by class"

    @property
    def text(self) -> str:
        """The rule in words: ``fixed:0.1``, or ``tuned, by val_open``."""
        return self.rule if self.chosen_by is None else f"{self.rule}, by {self.chosen_by}"


class ThresholdOutcome(ChosenThreshold):
    """The metrics at a τ other than the run's own."""

    metrics: Metrics


class TunedThreshold(Record):
    """threshold.json: τ as ``oltr tune threshold`` saved it.

    Attributes:
        rule: used for tuning.
        f_measure_val: at τ on validation; None without open validation samples.
        study, trials: the Optuna study on the same objective, if any, and its number of trials.
        by_class, pooled: as in ``ChosenThreshold``.
    """

    ABSENT = frozenset({"by_class", "pooled"})

    rule: str
    value: FiniteFloat
    f_measure_val: float | None = None
    study: str | None = None
    trials: int = 0
    by_class: list[FiniteFloat] | None = None
    pooled: Pooled | None = None

    @property
    def chosen(self) -> ChosenThreshold:
        return ChosenThreshold(
            rule="tuned", value=self.value, chosen_by=self.rule, by_class=self.by_class, pooled=self.pooled
        )

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / TUNED, self.as_json())


class ChosenDetector(Record):
    """detector.json: the detector that ``oltr tune detector`` chose for a run of a trained method.

    Attributes:
        threshold: τ by the detector's own rule, on validation.
        criterion: what was compared, in words; ``value``: that of the detector, ``own_value``: of the run's own
            confidence; ``low``, ``high``: interval of the difference.
        tuned: τ for this detector's confidence as ``oltr tune threshold`` chose it later.
    """

    ABSENT = frozenset({"tuned"})

    name: str
    params: dict[str, Any] = {}
    threshold: ChosenThreshold
    criterion: str
    value: FiniteFloat
    own_value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    tuned: TunedThreshold | None = None

    @property
    def default_threshold(self) -> ChosenThreshold:
        """τ when nobody says which: the tuned one once there is one."""
        return self.tuned.chosen if self.tuned else self.threshold

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / CHOSEN, self.as_json())


class DetectorFacts(Record):
    """A detector of a run: parameters, whether open samples chose them, and what it reports about its fit."""

    name: str
    params: dict[str, Any] = {}
    tuned_on_open: bool = False
    report: dict[str, Any] = {}


class AddedClassFacts(Record):
    """What ``oltr add-class`` did and measured.

    Attributes:
        name: of the class, whose label is the last one; ``images``: how many it was made of.
        shift: t of the row mean − t · centre; None where the class's entries are exact.
        old_before, old_after: accuracy on the test images of the classes of before, among all classes;
            ``old_val_before`` and ``old_val_after`` on their validation images, by which t was chosen.
        new_after: accuracy on the class's images, each judged by a run that was made without it; None with one image.
        folds: how many runs that were; as many as images if each was left out alone.
        new_accepted, new_recognised: shares of them that are accepted at τ, and accepted as this class.
        new_accepted_before: share of the images that the run of before accepts, as some other class. These three are of
            the method's own confidence, and None for a run of a detector.
    """

    name: str
    images: int
    shift: FiniteFloat | None = None
    old_before: FiniteFloat
    old_after: FiniteFloat
    old_val_before: FiniteFloat
    old_val_after: FiniteFloat
    folds: int = 0
    new_after: FiniteFloat | None = None
    new_accepted: FiniteFloat | None = None
    new_recognised: FiniteFloat | None = None
    new_accepted_before: FiniteFloat | None = None


class IdentificationCounts(Record):
    """Numbers of probes, identities and distractors, and of the pairs in each group."""

    probes: int
    identities: int
    distractors: int
    pairs: dict[str, int] = {}


class _Ended(Record):
    """A run that has ended; ``run``: ``dataset/method/hash-sSEED``."""

    run: str
    method: str
    dataset: str
    seed: int
    hash: str

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / RESULT, self.as_json())


class RunFailure(_Ended):
    """A run that ended with an error; its checkpoints are kept."""

    status: Literal["failed"] = "failed"
    error: str = ""
    exit_code: int = 1


class RunResult(_Ended):
    """A finished run.

    Attributes:
        other_thresholds: by rule, τ and the metrics at it.
        best_validation: closed-set accuracy of ``best_epoch`` on the validation split; None without one.
        epochs_total, seconds_total: including all runs that it starts from.
        starts_from: name of the run that gave the first weights, or that a detector is used on.
        undecodable: training images that could not be decoded.
        class_counts: training images of each class (K,), by label.
        class_names: (K,); ``class N`` if the file has none.
        data_digest: of the lists or drawings that it was trained on, but of those in ``further_lists``.
        further_lists: digests of the lists of further open sets that it was scored on, and of the outliers that it was
            trained on, by split; None without any.
        identification: if the dataset has probes.
        added_class: if the run came of ``oltr add-class``.
    """

    ABSENT = frozenset({"detector", "further_lists", "identification", "added_class"})

    status: Literal["done"] = "done"
    shots: str = "paper"
    threshold: ChosenThreshold
    metrics: Metrics
    other_thresholds: dict[str, ThresholdOutcome] = {}
    best_epoch: int | None = None
    best_validation: FiniteFloat | None = None
    epochs: int | None = None
    epochs_total: int | None = None
    seconds: FiniteFloat | None = None
    seconds_total: FiniteFloat | None = None
    device: str | None = None
    starts_from: str | None = None
    undecodable: list[str] = []
    class_counts: Annotated[list[Count], Field(min_length=1)]
    class_names: Annotated[list[str], Field(validate_default=True)] = []
    data_digest: str | None = None
    further_lists: dict[str, str] | None = None
    detector: DetectorFacts | None = None
    identification: IdentificationCounts | None = None
    added_class: AddedClassFacts | None = None

    @field_validator("class_names")
    @classmethod
    def _one_a_class(cls, names: list[str], info: ValidationInfo) -> list[str]:
        classes = len(info.data.get("class_counts", names))
        if names and len(names) != classes:
            raise ValueError(f"{counted(len(names), 'name')} for {counted(classes, 'class')}")
        return names or [f"class {label}" for label in range(classes)]


_OUTCOME: TypeAdapter[RunResult | RunFailure] = TypeAdapter(
    Annotated[RunResult | RunFailure, Field(discriminator="status")]
)


def read_outcome(run_dir: Path) -> RunResult | RunFailure | None:
    """How the run in ``run_dir`` ended, with the class names as they are now; None if there is no result.json.

    Raises:
        DataProblem: the file is damaged, or that of renamed classes.
    """
    outcome = _read(
        run_dir / RESULT, _OUTCOME, "remove it and repeat the oltr run command, which restores it from the other files"
    )
    if isinstance(outcome, RunResult):
        names = read_class_names(run_dir.absolute().parents[1]).get(outcome.data_digest or "")
        own = outcome.class_names
        if names is not None and (len(names) == len(own) or (outcome.added_class and len(names) < len(own))):
            return outcome.model_copy(update={"class_names": [*names, *own[len(names) :]]})
    return outcome


def read_result(run_dir: Path) -> RunResult:
    """The result of a finished run.

    Raises:
        DataProblem: the run is not finished, or its result.json is damaged.
    """
    outcome = read_outcome(run_dir)
    if not isinstance(outcome, RunResult):
        raise DataProblem(f"{run_dir}: is not finished; repeat its oltr run command to continue")
    return outcome


def read_tuned(run_dir: Path) -> TunedThreshold | None:
    """The τ that ``oltr tune threshold`` saved for a run; None if it did not.

    Raises:
        DataProblem: the file is damaged.
    """
    return _read(run_dir / TUNED, TypeAdapter(TunedThreshold), "write it again with: oltr tune threshold")


def read_chosen_detector(run_dir: Path) -> ChosenDetector | None:
    """The detector that ``oltr tune detector`` chose for a run; None if it chose none.

    Raises:
        DataProblem: the file is damaged.
    """
    remedy = "choose again with: oltr tune detector, or take the choice back with its --reset"
    return _read(run_dir / CHOSEN, TypeAdapter(ChosenDetector), remedy)


def forget_chosen_detector(run_dir: Path) -> bool:
    """Take the choice back: the run has its own confidence again. Returns whether there was one.

    Raises:
        OltrError: the file cannot be removed.
    """
    file = run_dir / CHOSEN
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OltrError(f"{file}: cannot be removed ({error.strerror})") from None
    return True


def _read(path: Path, form: TypeAdapter[T], remedy: str) -> T | None:
    try:
        content = path.read_bytes()
        value = form.validate_json(content)
        without_digest(json.loads(content))
        return value
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("done", "failed"))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise DataProblem(f"{path}: is damaged ({' '.join(what.split())[:200]}); {remedy}") from None
    except (ValueError, RecursionError):
        raise DataProblem(f"{path}: is {CHANGED}; {remedy}, or, {ON_PURPOSE}") from None
