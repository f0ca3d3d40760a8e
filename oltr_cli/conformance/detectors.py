"""What every detector must do; ``oltr_cli.conformance`` says how to use it."""

from dataclasses import replace

import numpy as np
import torch

from oltr_cli.conformance.exporting import compare_files
from oltr_cli.conformance.methods import CLASS_COUNTS, RandomData, build, shorten
from oltr_cli.detector import Detector, DetectorSetup, LinearHead, LogitDetector, NetworkDetector
from oltr_cli.planning.detectors import FitSources, fit_detector
from oltr_cli.planning.registry import load_detector
from oltr_cli.runs.scores import SavedScores, max_softmax

FEATURES = 12
_CENTRES = np.random.default_rng(0).normal(0, 3, (len(CLASS_COUNTS), FEATURES))
_HEAD = LinearHead(_CENTRES / 4, np.full(len(CLASS_COUNTS), -2.0))


def random_scores(size: int, seed: int, spread: float = 1.0) -> SavedScores:
    """Scores of four classes with features that identify the class; some classes are rare."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASS_COUNTS), size, p=np.array(CLASS_COUNTS) / sum(CLASS_COUNTS))
    labels[: len(CLASS_COUNTS)] = np.arange(len(CLASS_COUNTS))  # every class has a sample
    features = (_CENTRES[labels] + rng.normal(0, spread, (size, FEATURES))).clip(0).astype(np.float32)
    logits = _HEAD.logits(features).astype(np.float32)
    prediction, confidence = max_softmax(logits)
    return SavedScores(prediction, confidence, labels.astype(np.int64), logits, features)


def fitted(name: str) -> Detector:
    """The detector with its default parameters, fitted to random scores."""
    cls = load_detector(name)
    detector = cls(DetectorSetup(CLASS_COUNTS, (0.25, 0.25, 0.25), cls.Params()))
    sources = FitSources(lambda: random_scores(156, seed=1), lambda: random_scores(80, seed=5), lambda: _HEAD)
    fit_detector(detector, sources)
    return detector


def _judge(name: str, detector: Detector, one_by_one: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and confidences of some samples, all at once or one at a time."""
    if isinstance(detector, NetworkDetector):
        network, images = build("plain").eval(), RandomData(2).images
        parts = images.split(1 if one_by_one else len(images))
        with torch.inference_mode():
            scores = [detector.score_images(network, part) for part in parts]
        prediction = torch.cat([s.logits.argmax(1) for s in scores]).numpy()
        return prediction, torch.cat([s.confidence for s in scores]).numpy()
    samples = random_scores(40, seed=2, spread=4.0)
    rows = np.arange(len(samples))
    parts_np = np.split(rows, len(rows)) if one_by_one else [rows]
    judged = [detector.score(samples.take(part)) for part in parts_np]
    return np.concatenate([j.prediction for j in judged]), np.concatenate([j.confidence for j in judged])


def check_verdicts_have_the_right_form(name: str) -> None:
    """Predictions are classes and confidences finite, one of each per sample."""
    prediction, confidence = _judge(name, fitted(name))
    assert prediction.shape == confidence.shape, f"{prediction.shape} predictions, {confidence.shape} confidences"
    assert ((prediction >= 0) & (prediction < len(CLASS_COUNTS))).all(), "a prediction is not a class"
    assert np.isfinite(confidence).all(), "a confidence is not finite"
    assert len(np.unique(confidence)) > 1, "all confidences are equal"


def check_verdicts_do_not_depend_on_the_batch(name: str) -> None:
    """One sample at a time gives the same as all at once."""
    detector = fitted(name)
    whole, single = _judge(name, detector), _judge(name, detector, one_by_one=True)
    assert (whole[0] == single[0]).all(), "predictions differ"
    np.testing.assert_allclose(single[1], whole[1], rtol=1e-4, atol=1e-5)


def check_samples_stay_what_they_are(name: str) -> None:
    """Scoring changes neither labels nor order, and does not modify the given scores."""
    detector = fitted(name)
    if isinstance(detector, NetworkDetector):
        return
    samples = random_scores(30, seed=3)
    before = replace(samples, prediction=samples.prediction.copy(), confidence=samples.confidence.copy())
    judged = detector.score(samples)
    assert (judged.labels == before.labels).all(), "labels changed"
    assert (samples.prediction == before.prediction).all(), "the given predictions were overwritten"
    assert (samples.confidence == before.confidence).all(), "the given confidences were overwritten"


class _Formula(torch.nn.Module):
    """A detector's formula in the form that torch.export takes."""

    def __init__(self, detector: LogitDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return self.detector.from_logits(logits)


def check_a_formula_of_logits_can_be_exported(name: str) -> None:
    """torch.export captures ``from_logits`` for any number of samples; in float32 it agrees with ``score``.

    It also goes into the files that ``oltr export`` writes of a run with the detector.
    """
    detector = fitted(name)
    if not isinstance(detector, LogitDetector):
        return
    samples = random_scores(40, seed=4)
    assert samples.logits is not None
    logits = torch.from_numpy(samples.logits)
    batch = {"logits": {0: torch.export.Dim("batch")}}
    try:
        program = torch.export.export(_Formula(detector), (logits[:2],), dynamic_shapes=batch).module()
    except Exception as error:  # unsupported code can make the exporter fail in any way
        raise AssertionError(f"torch.export cannot capture from_logits: {error}") from error
    for part in (logits, logits[:1]):
        said, wanted = program(part), detector.score(samples.take(slice(len(part)))).confidence
        assert said.shape == wanted.shape, f"from_logits gives {tuple(said.shape)} for {len(part)} samples"
        np.testing.assert_allclose(said.numpy(), wanted, rtol=1e-3, atol=1e-4)
    network = build("plain").eval()
    shorten(network.backbone)
    compare_files(name, network, detector.from_logits)
