"""A study in MLflow: one run, with the runs of its trials nested below it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from oltr_cli.data.feed.opening import OpenedDataset
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.resolve import flatten
from oltr_cli.tracking.mlflow_run import Description, Status, Value
from oltr_cli.tracking.tracker import Tracker, tracking_uri
from oltr_cli.tuning.claim import Claim
from oltr_cli.tuning.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Nest:
    """The MLflow runs of a study that this worker takes part in; nothing here raises, or costs a trial."""

    def __init__(self, study: Study, view: OpenedDataset, track: bool, warn: Callable[[str], None]) -> None:
        self.study, self.track, self.warn = study, track, warn
        about, run = study.about, study.run
        self.dataset: dict[str, Value] = {
            "name": about.dataset,
            "digest": view.digest,
            "num_train": len(view.splits["train"]),
        }
        space = {d.key: d.text for d in about.space}
        params: dict[str, Value] = {**space, "objective": about.objective, "seed": about.seed, "pruning": about.prune}
        tags = {"method": about.method, "dataset": about.dataset, "study": about.name}
        self.parent = Description(run, tracking_uri(run.root), params, tags, self.dataset, title=f"study {about.name}")
        self.used = False

    def trial(self, claim: Claim, p: Planned) -> Tracker:
        """Begin to mirror a trial."""
        about, self.used = self.study.about, True
        tags = {"method": about.method, "dataset": about.dataset, "hash": p.link.hash, "seed": str(about.seed)}
        return Tracker.start(
            p.run,
            flatten(p.link.recipe.as_toml()),
            {**tags, "study": about.name, "trial": str(claim.number)},
            self.dataset,
            enabled=self.track,
            warn=self.warn,
            title=f"trial {claim.number:03}",
            parent=self.parent,
        )

    def close(self, status: Status, files: list[Path], best: "FrozenTrial | None") -> None:
        """Close the study's run if this worker took part in it; another worker's next trial opens it again.

        The study is not read, since it may be the reason why the worker ends.
        """
        if not self.used:
            return
        parent = self.parent
        metrics = {} if best is None else {f"best/{self.study.about.objective}": best.values[0]}
        tracker = Tracker.start(
            parent.run, parent.params, parent.tags, parent.dataset, self.track, self.warn, title=parent.title
        )
        tracker.finish(status, metrics, files)
