"""Attributes read from the text of files: what an import gives, and None where only an import would tell."""

import pytest

from oltr_cli.planning.class_attributes import attributes_of
from oltr_cli.planning.described import described
from oltr_cli.planning.registry import METHODS, list_methods


@pytest.mark.parametrize("name", list_methods())
def test_they_are_those_of_an_import(name):
    info, cls = list_methods()[name], METHODS.load(name)
    is_detector = info.kind == "detector"
    names = ("Params", "starts_from") if is_detector else ("Params", "starts_from", "train_defaults", "trains")
    read = attributes_of(info.module, info.class_name, names)
    assert read is not None
    assert read[1:] == [getattr(cls, attribute) for attribute in names[1:]]
    one, other = read[0], cls.Params
    assert {key: repr(field) for key, field in one.model_fields.items()} == {
        key: repr(field) for key, field in other.model_fields.items()
    }
    assert one().model_dump() == other().model_dump()
    about = described(name, detector=is_detector)
    assert about.load() is cls
    assert about.on_features == any(base.__name__ == "FeatureMethod" for base in cls.__mro__)


FILE = """
from __future__ import annotations
import torch
from pydantic import Field, model_validator
from typing import Literal
from oltr_cli.method import LinearMethod, MethodParams
{imports}
LARGEST = 3
def twice(x): return 2 * x
Kind = Literal["a", "b"]

class Mine(LinearMethod):
    class Params(MethodParams):
        {body}
    def training_loss(self, images, labels): return {{"x": torch.zeros(())}}
"""


@pytest.mark.parametrize(
    ("imports", "body", "fields"),
    [
        ("", 'kind: Kind = "b"\n        size: int = Field(twice(LARGEST), le=9)', {"kind": "b", "size": 6}),
        ("from oltr_cli.networks.layers import Squash", 'form: Squash = "code"', {"form": "code"}),
        ("", "device: str = torch.__name__", None),
        ("from os.path import sep", "text: str = sep", None),
        ("", "x: int = 1 / 0", None),
    ],
)
def test_an_added_file(tmp_path, imports, body, fields):
    path = tmp_path / f"mine{abs(hash(body))}.py"
    path.write_text(FILE.format(imports=imports, body=body))
    read = attributes_of(str(path), "Mine", ("Params",))
    assert (None if read is None else read[0]().model_dump()) == fields


def test_params_of_a_base_in_another_file(tmp_path):
    path = tmp_path / "heir.py"
    path.write_text("from oltr_cli.methods.dme import DME\n\nclass Heir(DME):\n    pass\n")
    read = attributes_of(str(path), "Heir", ("Params",))
    assert read is not None
    assert read[0]().model_dump() == METHODS.load("dme").Params().model_dump()
