"""A method computes in the precision it is built in: with OLTR_PRECISION=float64 nothing is rounded to float32."""

import numpy as np
import pytest
import torch

from oltr_cli.conformance.methods import RandomData, build, training_batch
from oltr_cli.method import FeatureMethod
from oltr_cli.planning.registry import list_methods, load_method
from oltr_cli.training.scoring import score_features

METHODS = [n for n, info in list_methods().items() if info.kind == "method"]


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_scores_are_float64(name, float64):
    method = build(name).eval()
    images, labels = training_batch(method, RandomData())
    assert images.dtype == torch.float64
    with torch.no_grad():
        scores = method(images)
    kinds = {"logits": scores.logits.dtype, "confidence": scores.confidence.dtype}
    if method.trains:
        kinds |= {term: value.dtype for term, value in method.training_loss(images, labels).items()}
    assert set(kinds.values()) == {torch.float64}, kinds
    rounded = {n: t for n, t in [*method.named_parameters(), *method.named_buffers()] if t.dtype == torch.float32}
    assert not rounded, f"float32: {', '.join(rounded)}"
    # Rounded to float32 anywhere on the way, logits would not see a change of 1e-11.
    moved = (method(images * (1 + 1e-11)).logits - scores.logits).abs().max()
    assert 0 < moved < 1e-8


@pytest.mark.parametrize("name", [n for n in METHODS if issubclass(load_method(n), FeatureMethod)])
def test_a_head_scores_saved_features_which_are_float32(name, float64):
    method = build(name)
    features = torch.rand(4, method.backbone.feature_dim, dtype=torch.float32)
    scores = score_features(method, features, np.zeros(4, np.int64))
    wanted = method.score_features(features.double()).confidence.detach().float()
    assert scores.confidence == pytest.approx(wanted.numpy(), abs=1e-6)
