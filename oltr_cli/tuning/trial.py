"""One trial: train the method with some values, and evaluate it on validation.

A trial gets a dataset of only the splits train, val and open_val, and the outliers for a method that uses them: the
lists of the test set are never read, and of the runs that it starts from it opens weights, and scores of these splits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import tomli_w

from oltr_cli.base.digests import toml_with_digest
from oltr_cli.base.display import Display
from oltr_cli.base.files import write_text
from oltr_cli.data.feed.opening import OpenedDataset, open_dataset
from oltr_cli.detector import Detector
from oltr_cli.errors import DataProblem
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.pipeline.networks import NetworkScores
from oltr_cli.planning.plan import Planned, plan
from oltr_cli.protocol.best_threshold import best_f_measure
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.open_sets import OUTLIERS
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.folder import FolderGone
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.engine import train
from oltr_cli.training.frozen import frozen_features, score_frozen
from oltr_cli.training.task import Progress, Task
from oltr_cli.tuning.about import FiledRun
from oltr_cli.tuning.space import Value, assignments

if TYPE_CHECKING:
    from accelerate import Accelerator

SPLITS = ("train", "val", "open_val")


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        metrics: on validation, with its open images as the open set.
        threshold: τ, the exact optimum of the F-measure there; None without open validation images.
    """

    metrics: dict[str, float | None]
    threshold: float | None
    best_epoch: int
    epochs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return vars(self)


def validation_view(
    spec: DataSpec, progress: Callable[[int, int], None] | None = None, *, outliers: bool = False
) -> OpenedDataset:
    """The dataset without its test set; with the images of open_train.txt if ``outliers``."""
    return open_dataset(spec, progress, only=(*SPLITS, OUTLIERS) if outliers else SPLITS)


def default_objective(view: OpenedDataset) -> str:
    """The F-measure where validation has open images, accuracy elsewhere."""
    return "open/f_measure" if "open_val" in view.splits else "closed/overall"


def check_objective(objective: str, view: OpenedDataset) -> None:
    """Raises DataProblem: the metric cannot be computed on this validation set."""
    if objective.startswith("open/") and "open_val" not in view.splits:
        raise DataProblem(
            f"{objective} needs open validation images, and '{view.spec.name}' has no open_val list; use a metric of "
            "the closed set: --objective closed/overall"
        )


@dataclass(frozen=True)
class Workbench:
    """What all trials of a worker share.

    Attributes:
        planned: the runs of the unchanged recipe; all but the last are finished.
        view: from ``validation_view``.
    """

    planned: list[Planned]
    recipe: str
    sets: list[str]
    view: OpenedDataset
    accelerator: "Accelerator"
    workers: int
    display: Display

    @property
    def networks(self) -> NetworkScores:
        return NetworkScores(self.planned, self.view, self.accelerator, self.display, self.workers)

    def share(self) -> None:
        """Compute once what each trial would otherwise compute: scores of the training set, for trials that train on
        them.

        Features of a frozen backbone are kept by the first trial that needs them.
        """
        last = self.planned[-1].cls
        on_features = issubclass(last, FeatureMethod) or (issubclass(last, Detector) and last.fit is not Detector.fit)
        if on_features:
            self.networks.training(self.planned[-2])

    def resolve(self, values: Mapping[str, Value], run: FiledRun) -> Planned:
        """The tuned method with ``values``, filed as ``run``."""
        planned = plan(self.planned[-1].run.method, self.recipe, [*self.sets, *assignments(values)], run.seed)
        if [p.run for p in planned[:-1]] != [p.run for p in self.planned[:-1]]:
            raise DataProblem(f"{self.recipe} has changed since this command started; start it again")
        return replace(planned[-1], run=replace(run, hash=planned[-1].link.hash))

    def run(self, p: Planned, log_epoch: Callable[[dict[str, Any]], None]) -> Outcome:
        """Make one trial.

        Args:
            p: from ``resolve``.
            log_epoch: as ``oltr_cli.training.engine.train`` calls it; what it raises ends the trial.
        Raises:
            FolderGone: its folder was removed or moved meanwhile.
        """
        write_text(p.run.path / "recipe.toml", toml_with_digest(tomli_w.dumps(p.link.recipe.as_toml())))
        progress, scores = self._judged(p) if p.is_detector else self._trained(p, log_epoch)
        val, open_val = scores["val"], scores.get("open_val")
        if not (p.run.path / "recipe.toml").exists():
            raise FolderGone(f"{p.run.path}: was removed or moved during the trial")
        for split, judged in scores.items():
            replace(judged, logits=None, features=None, paths=None).save(p.run.scores(split))
        tau = best_f_measure(val, open_val)[0] if open_val is not None else None
        return Outcome(
            every_metric(val, open_val, self.view.class_counts, tau or 0.0),
            tau,
            progress.best_epoch,
            len(progress.history),
            sum(row["seconds"] for row in progress.history),
        )

    def _judged(self, p: Planned) -> tuple[Progress, dict[str, SavedScores]]:
        """A detector on the finished run under it."""
        from oltr_cli.pipeline.detect import Detection

        detection = Detection(p, self.planned[-2], self.networks)
        detection.prepare()
        return Progress(), {split: detection.scores(split) for split in self._judging()}

    def _trained(
        self, p: Planned, log_epoch: Callable[[dict[str, Any]], None]
    ) -> tuple[Progress, dict[str, SavedScores]]:
        assert issubclass(p.cls, Method)
        task = Task(p.run, p.link, p.cls, self.view, p.parent, self.accelerator, self.workers, self.display)
        progress = train(task, log_epoch)
        networks = self.networks
        network = networks.network(p)
        if p.link.recipe.train.freeze_backbone and not issubclass(p.cls, FeatureMethod):
            kept = {split: frozen_features(task, network, split) for split in self._judging()}
            return progress, {split: score_frozen(network, k, self.accelerator) for split, k in kept.items()}
        with self.display.bar("scoring", sum(len(self.view.splits[split]) for split in self._judging())) as bar:
            return progress, {split: networks.of_split(p, network, split, bar) for split in self._judging()}

    def _judging(self) -> list[str]:
        return [split for split in ("val", "open_val") if split in self.view.splits]
