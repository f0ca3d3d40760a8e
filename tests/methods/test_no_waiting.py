"""A step's loss never waits for a GPU: no value of a tensor is read, and no shape depends on one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from oltr_cli.conformance.methods import RandomData, build
from oltr_cli.method import FeatureMethod
from oltr_cli.planning.registry import list_methods, load_method

# A head on stored features draws episodes by label; its steps take microseconds.
METHODS = [
    name
    for name, info in list_methods().items()
    if info.kind == "method" and not issubclass(load_method(name), FeatureMethod)
]


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits(name):
    method, data = build(name).train(), RandomData()
    # Tensors without values: whatever would read one raises DataDependentOutputException or its like.
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        terms = method.training_loss(mode.from_tensor(data.images), mode.from_tensor(data.labels))
        torch.stack(list(terms.values())).sum().backward()
