"""A detector on a finished run: fits it to saved scores, chooses its parameters if requested, and computes its
scores of every split."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from oltr_cli.base.added_code import defined_at
from oltr_cli.base.text import json_text
from oltr_cli.detector import Detector, DetectorSetup, LinearHead, NetworkDetector
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.method import Method, Scores
from oltr_cli.pipeline.networks import NetworkScores, saved_scores
from oltr_cli.planning.detectors import FitSources, fit_detector
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.metrics import rank_curve, ranking_metrics
from oltr_cli.runs.result import DetectorFacts
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training.contract import check_scores
from oltr_cli.training.scoring import score_split

TUNED_BY = "open/detection_error_tpr95"


class _Judged(nn.Module):
    """A network as a detector sees it, in the form that ``score_split`` takes."""

    def __init__(self, network: Method, detector: NetworkDetector) -> None:
        super().__init__()
        self.network, self.detector = network, detector

    def forward(self, images: Tensor) -> Scores:
        scores = self.detector.score_images(self.network, images)
        check_scores(self.detector.score_images, scores, len(images), self.network.setup.num_classes)
        if not scores.confidence.isfinite().all():
            raise self.detector.not_finite("images")
        return scores


@dataclass
class Detection:
    """A detector on the run ``under``.

    Attributes:
        detector: as requested; after ``prepare``, fitted and with its parameters chosen.
        tuned_on_open: whether open validation samples chose them.
    """

    p: Planned
    under: Planned
    networks: NetworkScores
    tuned_on_open: bool = False

    def __post_init__(self) -> None:
        assert issubclass(self.p.cls, Detector)
        recipe, counts = self.p.link.recipe, self.networks.dataset.class_counts
        assert recipe.detector is not None
        setup = DetectorSetup(tuple(int(c) for c in counts), recipe.data.std, recipe.detector)
        self.detector = self.p.cls(setup)

    def prepare(self) -> None:
        """Fit the detector to saved scores, and choose among its candidates if it has any."""
        if isinstance(self.detector, NetworkDetector):
            self._network = self.networks.network(self.under)
            self._tune(self.detector.candidates())
        networks, under = self.networks, self.under
        sources = FitSources(
            train=lambda: networks.training(under),
            val=lambda: SavedScores.load(under.run.scores("val")),
            head=lambda: LinearHead.of(networks.network(under).eval()),
        )
        fit_detector(self.detector, sources)

    def scores(self, split: str) -> SavedScores:
        """The detector's prediction and confidence for a whole split, without the run's logits and features."""
        if not isinstance(self.detector, NetworkDetector):
            judged = self.detector.score(saved_scores(self.under.run, split))
            return replace(judged, logits=None, features=None)
        return replace(self._by_network(self.detector, split), logits=None, features=None)

    def facts(self) -> DetectorFacts:
        """What the run's result says about it."""
        report = self.detector.report()
        try:
            json_text(report)
        except (TypeError, ValueError) as error:
            where = defined_at(self.detector.report)
            raise OltrError(f"{where}: does not return a dict of numbers and strings ({error})") from None
        return DetectorFacts(
            name=self.p.run.method.partition("+")[2],
            params=self.detector.setup.params.model_dump(mode="json", by_alias=True),
            tuned_on_open=self.tuned_on_open,
            report=report,
        )

    def _by_network(self, detector: NetworkDetector, split: str) -> SavedScores:
        networks, data = self.networks, self.networks.dataset
        with networks.display.bar(f"{self.p.run.method} on {split}", len(data.splits[split])) as bar:
            return score_split(
                _Judged(self._network, detector),
                data.splits[split],
                self.p.link.recipe.data,
                networks.accelerator,
                networks.workers,
                advance=bar.advance,
            )

    def _tune(self, candidates: Any) -> None:
        if not candidates:
            return
        missing = [split for split in ("val", "open_val") if split not in self.networks.dataset.splits]
        if missing:
            raise DataProblem(
                f"{self.p.run.method}: its parameters are chosen on open validation samples, and "
                f"'{self.p.run.dataset}' has no {missing[0]} list; set them with --set detector.KEY=VALUE"
            )
        errors = []
        for candidate in candidates:
            known, open_ = (self._by_network(candidate, split) for split in ("val", "open_val"))
            errors.append(ranking_metrics(rank_curve(known, open_))[TUNED_BY])
        self.detector = candidates[min(range(len(errors)), key=lambda i: errors[i] or 0.0)]
        self.tuned_on_open = True
