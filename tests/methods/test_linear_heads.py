"""Which methods have a linear classifier on their features, and that it is the one their scores come from."""

import numpy as np
import pytest
import torch

from oltr_cli.conformance.methods import CLASS_COUNTS, RandomData, build
from oltr_cli.detector import LinearHead
from oltr_cli.planning.registry import list_methods
from oltr_cli.runs.scores import SavedScores

NONE = {"cosine-la", "dme", "fslwf", "ldam-drw", "lift", "ncm"}
LINEAR = [name for name, info in list_methods().items() if info.kind == "method" and name not in NONE]


@torch.no_grad()
def scores_of(network):
    scores = network.eval()(RandomData(2).images)
    logits, features = scores.logits.numpy(), scores.features.numpy()
    return SavedScores(logits.argmax(1), scores.confidence.numpy(), np.zeros(len(logits), int), logits, features)


def filled(name):
    """The method with weights that are not 0, so that every part of its classifier counts."""
    network, draw = build(name).eval(), torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.3, generator=draw)
    return network


@pytest.mark.parametrize("name", LINEAR)
def test_the_head_gives_the_logits(name):
    network = filled(name)
    scores = scores_of(network)  # first: some write their classifier on the way to evaluation
    head = LinearHead.of(network)
    assert head is not None
    assert head.weight.shape == (len(CLASS_COUNTS), scores.features.shape[1])
    np.testing.assert_allclose(head.logits(scores.features), scores.logits, rtol=1e-4, atol=1e-4)
    assert head.fits(scores)


@pytest.mark.parametrize("name", sorted(NONE))
def test_a_cosine_classifier_and_a_memory_have_none(name):
    network = filled(name)
    scores, head = scores_of(network), LinearHead.of(network)
    assert head is None or not head.fits(scores)
