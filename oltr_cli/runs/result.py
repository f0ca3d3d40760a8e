"""result.json: the outcome of a run that has ended, read and written only here.

Files of earlier versions lack newer fields, which have defaults; those without a default were written by every version.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from oltr_cli.base.files import write_json
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.class_names import read_class_names
from oltr_cli.runs.records import Record, read_record

RESULT = "result.json"

Metrics = dict[str, FiniteFloat | None]  # by name, None if it cannot be computed; see oltr_cli.protocol.catalogue
Count = Annotated[int, Field(ge=0, lt=2**63)]


class ThresholdOutcome(ChosenThreshold):
    """The metrics at a τ other than the run's own."""

    metrics: Metrics


class DetectorFacts(Record):
    """A detector of a run: parameters, whether open samples chose them, and what it reports about its fit."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    tuned_on_open: bool = False
    report: dict[str, Any] = Field(default_factory=dict)


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
    pairs: dict[str, int] = Field(default_factory=dict)


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
    other_thresholds: dict[str, ThresholdOutcome] = Field(default_factory=dict)
    best_epoch: int | None = None
    best_validation: FiniteFloat | None = None
    epochs: int | None = None
    epochs_total: int | None = None
    seconds: FiniteFloat | None = None
    seconds_total: FiniteFloat | None = None
    device: str | None = None
    starts_from: str | None = None
    undecodable: list[str] = Field(default_factory=list)
    class_counts: Annotated[list[Count], Field(min_length=1)]
    class_names: list[str] = Field(default_factory=list, validate_default=True)
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
    outcome = read_record(
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
