"""Scores of a finished run's network: of any split, from images or, for a method on features, from saved ones.

The scores of the training set are computed when first needed (by a method on features or a detector) and saved next to
the others.
"""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from oltr_cli.base.display import Bar, Display
from oltr_cli.base.machine import default_workers
from oltr_cli.data.feed.opening import OpenedDataset
from oltr_cli.errors import DataProblem
from oltr_cli.method import FeatureMethod, Method
from oltr_cli.pipeline.together import of_first
from oltr_cli.planning.plan import Planned
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.frozen import frozen_features, score_frozen
from oltr_cli.training.scoring import score_features, score_split
from oltr_cli.training.task import Task, load_best

if TYPE_CHECKING:
    from accelerate import Accelerator


def saved_scores(run: Run, split: str) -> SavedScores:
    """Scores of a finished run.

    Raises:
        DataProblem: there are none, because the split is newer than the run; or they are damaged.
    """
    path = run.scores(split)
    if not path.exists():
        raise DataProblem(
            f"{path}: missing, as after an addition to the lists; type: oltr rm {shlex.quote(run.name)}, then the oltr "
            "run command again"
        )
    return SavedScores.load(path)


class NetworkScores:
    """Scores by the networks of one chain of runs, whose ancestors are finished."""

    def __init__(
        self,
        planned: list[Planned],
        dataset: OpenedDataset,
        accelerator: "Accelerator",
        display: Display,
        workers: int | None = None,
    ) -> None:
        self.planned = {p.run: p for p in planned}
        self.dataset, self.accelerator, self.display = dataset, accelerator, display
        self.workers = default_workers() if workers is None else workers

    def network(self, p: Planned) -> Method:
        """The trained network with the weights of its best epoch, on the device."""
        assert issubclass(p.cls, Method)
        return load_best(p.run, p.cls, p.link.recipe, self.dataset.class_counts).to(self.accelerator.device)

    def of_split(self, p: Planned, method: Method, split: str, bar: Bar) -> SavedScores:
        """Scores of a whole split, with logits, features and names; see ``score_split``.

        Those of a frozen backbone without maps come from its kept features. Maps take much more space: only those of
        the splits that training reads are kept, and a method that needs them is scored from images.
        """
        if isinstance(method, FeatureMethod):
            assert p.parent is not None
            saved = self.training(self.planned[p.parent]) if split == "train" else None
            saved = saved or saved_scores(p.parent, split)
            if saved.features is None or saved.paths is None:
                raise DataProblem(f"{p.parent.scores(split)}: has no features or names")
            features = torch.from_numpy(np.asarray(saved.features, np.float32)).to(self.accelerator.device)
            bar.advance(len(saved))
            return score_features(method, features, saved.labels, saved.paths)
        if p.link.recipe.train.freeze_backbone and not method.needs_map:
            machine = (self.accelerator, self.workers, self.display)
            task = Task(p.run, p.link, type(method), self.dataset, p.parent, *machine)
            kept = frozen_features(task, method, split, bar)
            return score_frozen(method, kept, self.accelerator, self.dataset.splits[split].names)
        return score_split(
            method,
            self.dataset.splits[split],
            p.link.recipe.data,
            self.accelerator,
            self.workers,
            skip_undecodable=split == "train",
            advance=bar.advance,
        )

    def training(self, p: Planned) -> SavedScores:
        """Scores of the training set of a finished run, in order; an image that cannot be decoded is left out.

        They are computed once: several runs that start from this one may be made at the same time.
        """
        path = p.run.scores("train")
        if not of_first(path.exists):
            with self._alone(p.run):
                if not of_first(path.exists):
                    self._score_training(p, path)
        return SavedScores.load(path)

    def _score_training(self, p: Planned, path: Path) -> None:
        with self.display.bar("scoring the training set", len(self.dataset.splits["train"])) as bar:
            scores = self.of_split(p, self.network(p), "train", bar)
        if self.accelerator.is_main_process:
            scores.save(path)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _alone(self, run: Run) -> Iterator[None]:
        """Hold the run's lock in the first process of a group, while the others wait for it."""
        waiting = f"another process is scoring the training set of {run.name}; waiting for it"
        with ExitStack() as held:
            lock = run.lock().held(lambda: self.display.say(waiting), poll_interval=0.1)
            of_first(lambda: held.enter_context(lock))
            yield
