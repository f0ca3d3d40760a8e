"""threshold.json and detector.json: what was chosen for a finished run, and the records of a τ.

Both files are read and written only here.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, FiniteFloat, TypeAdapter

from oltr_cli.base.files import write_json
from oltr_cli.base.text import counted
from oltr_cli.errors import OltrError
from oltr_cli.runs.records import Record, read_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TUNED, CHOSEN = "threshold.json", "detector.json"


class Pooled(Record):
    """Where a rule by class has too few validation images for a τ of its own.

    Attributes:
        groups: shot groups with the one τ of all.
        classes: number of classes with the τ of their group.
    """

    groups: list[str] = Field(default_factory=list)
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
        ends = dict.fromkeys(f"{end:.4g}" for end in (min(self.by_class), max(self.by_class)))
        return f"{' … '.join(ends)} by class"

    @property
    def text(self) -> str:
        """The rule in words: ``fixed:0.1``, or ``tuned, by val_open``."""
        return self.rule if self.chosen_by is None else f"{self.rule}, by {self.chosen_by}"


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
    params: dict[str, Any] = Field(default_factory=dict)
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


def read_tuned(run_dir: Path) -> TunedThreshold | None:
    """The τ that ``oltr tune threshold`` saved for a run; None if it did not.

    Raises:
        DataProblem: the file is damaged.
    """
    return read_record(run_dir / TUNED, TypeAdapter(TunedThreshold), "write it again with: oltr tune threshold")


def read_chosen_detector(run_dir: Path) -> ChosenDetector | None:
    """The detector that ``oltr tune detector`` chose for a run; None if it chose none.

    Raises:
        DataProblem: the file is damaged.
    """
    remedy = "choose again with: oltr tune detector, or take the choice back with its --reset"
    return read_record(run_dir / CHOSEN, TypeAdapter(ChosenDetector), remedy)


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
