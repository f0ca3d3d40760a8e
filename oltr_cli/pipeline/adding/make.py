"""A finished run with one more class, made of a few images without training: a run of its own that starts from it.

Saved features are enough: the network is given the class (oltr_cli/training/imprint.py), every saved split is scored
again, τ is chosen by the same rules, and the detector that was chosen for the run is fitted again. The run of before is
only read. The new one is below its dataset and method, and its hash is that of the recipe with the table ``added``.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from oltr_cli.base.display import Display
from oltr_cli.method import Method
from oltr_cli.pipeline.added_scores import joined, rescored, saved_by
from oltr_cli.pipeline.adding.images import Seen, seen_by
from oltr_cli.pipeline.adding.record import finish, held, tuned_again, write_recipe
from oltr_cli.pipeline.adding.request import Request
from oltr_cli.pipeline.rescoring import Rescoring
from oltr_cli.pipeline.result import evaluated
from oltr_cli.pipeline.tracked import complete
from oltr_cli.protocol.metrics import accepted
from oltr_cli.protocol.thresholds import ThresholdRule, choose
from oltr_cli.runs.checkpoint import BEST, load_best, save_checkpoint
from oltr_cli.runs.choices import ChosenThreshold, TunedThreshold, read_chosen_detector, read_tuned
from oltr_cli.runs.result import AddedClassFacts, RunResult
from oltr_cli.runs.scores import NEW_CLASS, SavedScores
from oltr_cli.runs.trained_on import keys_of, save_trained_on, trained_on
from oltr_cli.training.imprint import Imprinter

_PLAIN = ("prediction", "confidence", "labels")
FOLDS = 10  # runs made to judge the new class's images, at most


def make_with_class(
    asked: Request, accelerator: Accelerator, display: Display, *, batch_size: int, workers: int, track: bool
) -> RunResult:
    """The result of the run with the class, which is made if it is not there.

    Raises:
        DataProblem: an image cannot be decoded; the run of before lacks scores or features.
        OltrError: the run cannot be written.
    """
    run = asked.run
    with held(run, display) as result:
        if result is None:
            seen = seen_by(asked.before, asked.files, batch_size, workers)
            return _Making(asked, accelerator, display, workers, track).make(seen)
    complete(run, result, display, track)
    return result


@dataclass(frozen=True)
class _Making:
    """One run with one more class, while it is made."""

    asked: Request
    accelerator: Accelerator
    display: Display
    workers: int
    track: bool

    def make(self, seen: Seen) -> RunResult:
        began = time.monotonic()
        before, run = self.asked.before, self.asked.run
        parent, old = before.run, before.result
        imprinter = Imprinter(
            before.network.cpu(), before.recipe, old.class_counts, parent.seed, SavedScores.load(parent.scores("val"))
        )
        judged, folds = self._left_out(imprinter, seen)
        network, shift = imprinter.add(seen.features)
        after = imprinter.accuracy(network)
        counts, names = [*old.class_counts, len(self.asked.files)], [*old.class_names, self.asked.name]
        scores = self._score(network, seen)
        checkpoint = load_best(parent)
        identity = {"format": 1, "hash": run.hash, "seed": run.seed, "data_digest": checkpoint.get("data_digest")}
        content = {**identity, "model": network.state_dict(), "epoch": checkpoint["epoch"], "value": after}
        save_checkpoint(run.path / BEST, content)
        self._say_trained_on()
        recipe = imprinter.recipe.model_copy(update={"added": self.asked.recipe.added, "detector": None})
        write_recipe(run, recipe, parent, self.accelerator, self.workers)
        main, others = evaluated(scores, counts, ThresholdRule.parse(old.threshold.rule))
        tuned = self._tune(scores, counts, old.shots)
        tau = tuned.chosen if tuned else main.threshold
        seconds = time.monotonic() - began
        result = old.model_copy(
            update={
                **run.identity,
                "threshold": main.threshold,
                "metrics": main.metrics,
                "shots": main.shots,
                "other_thresholds": others,
                "best_epoch": None,
                "best_validation": after,
                "epochs": 0,
                "seconds": seconds,
                "seconds_total": seconds + (old.seconds_total or 0.0),
                "device": before.device.type,
                "starts_from": parent.name,
                "undecodable": [],
                "class_counts": counts,
                "class_names": names,
                "identification": None,
                "added_class": AddedClassFacts(
                    name=self.asked.name,
                    images=len(self.asked.files),
                    shift=shift,
                    old_before=_accuracy(SavedScores.load(parent.scores("test"))),
                    old_after=_accuracy(scores["test"]),
                    old_val_before=imprinter.accuracy_before,
                    old_val_after=after,
                    folds=folds,
                    new_accepted_before=float(seen.accepted.mean()),
                    **_of_new(judged, len(names) - 1, tau),
                ),
            }
        )
        self._choose_detector(result)
        finish(run, recipe, result, self.display, self.track)
        return result

    def _left_out(self, imprinter: Imprinter, seen: Seen) -> tuple[SavedScores | None, int]:
        """Scores of the new images, each by a network that was made without it, and how many networks that took."""
        n = len(seen.features)
        folds = min(n, FOLDS) if n > 1 else 0
        parts, fold = [], np.arange(n) % max(folds, 1)
        with self.display.bar("judging the new class", folds, "parts") as bar:
            for part in range(folds):
                network, _ = imprinter.add(seen.features[fold != part])
                parts.append(saved_by(network, seen.features[fold == part]))
                bar.advance()
        if not parts:
            return None, 0
        return SavedScores(*(np.concatenate([getattr(p, name) for p in parts]) for name in _PLAIN)), folds

    def _score(self, network: Method, seen: Seen) -> dict[str, SavedScores]:
        """Save the scores of every split that the run of before has scores of, and of the new images."""
        before, run = self.asked.before.run, self.asked.run
        splits = sorted(path.stem for path in (before.path / "scores").glob("*.npz") if path.stem != NEW_CLASS)
        label, made = network.setup.num_classes - 1, {}
        new = saved_by(network, seen.features, np.full(len(seen.features), label), np.array(self.asked.files.paths))
        new.save(run.scores(NEW_CLASS))
        with self.display.bar("scoring", len(splits), "splits") as bar:
            for split in splits:
                scores = rescored(network, before, split)
                scores = joined(scores, new) if split == "train" else scores
                scores.save(run.scores(split))
                made[split] = scores
                bar.advance()
        return made

    def _tune(self, scores: dict[str, SavedScores], counts: list[int], shots: str) -> TunedThreshold | None:
        """τ by the rule of ``oltr tune threshold``, if it chose one for the run of before; saved."""
        before = read_tuned(self.asked.before.run.path)
        tuned = tuned_again(before, counts, shots, scores.get("val"), scores.get("open_val"))
        if tuned is not None:
            tuned.write(self.asked.run.path)
        return tuned

    def _choose_detector(self, result: RunResult) -> None:
        """Fit the detector that was chosen for the run of before, and choose its τ by its rule; saved.

        What it was chosen by stays, and says of which run it is.
        """
        before = read_chosen_detector(self.asked.before.run.path)
        if before is None:
            return
        on = Rescoring(self.asked.run, result)
        detector = on.fitted(before.name, before.params)
        val = on.scores(detector, "val")
        open_val = on.scores(detector, "open_val") if on.has("open_val") else None
        rule = ThresholdRule.parse(before.threshold.rule)
        threshold = choose(rule, result.class_counts, result.shots, val=val, open_val=open_val)
        tuned = tuned_again(before.tuned, result.class_counts, result.shots, val, open_val)
        criterion = before.criterion.partition(" (chosen for ")[0] + f" (chosen for {self.asked.before.run.name})"
        chosen = before.model_copy(update={"threshold": threshold, "tuned": tuned, "criterion": criterion})
        chosen.write(self.asked.run.path)

    def _say_trained_on(self) -> None:
        before = trained_on(self.asked.before.run.path)
        own = keys_of(str(Path(path).resolve()) for path in self.asked.files.paths)
        save_trained_on(self.asked.run.path, own if before is None else np.union1d(own, before))


def _accuracy(scores: SavedScores) -> float:
    return float((scores.prediction == scores.labels).mean())


def _of_new(judged: SavedScores | None, label: int, tau: ChosenThreshold) -> dict[str, float]:
    """What the networks that were made without them say of the new images."""
    if judged is None:
        return {}
    right, taken = judged.prediction == label, accepted(judged, tau.tau)
    return {
        "new_after": float(right.mean()),
        "new_accepted": float(taken.mean()),
        "new_recognised": float((right & taken).mean()),
    }
