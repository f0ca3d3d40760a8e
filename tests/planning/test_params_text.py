"""``Params`` read from the text of files: what an import gives, and None where only an import would tell."""

import pytest

from oltr_cli.planning.params_text import params_of
from oltr_cli.planning.registry import METHODS, list_methods


@pytest.mark.parametrize("name", list_methods())
def test_they_are_those_of_an_import(name):
    info = list_methods()[name]
    read, real = params_of(info.module, info.class_name), METHODS.load(name).Params
    assert read is not None
    assert {key: repr(field) for key, field in read.model_fields.items()} == {
        key: repr(field) for key, field in real.model_fields.items()
    }
    assert read().model_dump() == real().model_dump()


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
    read = params_of(str(path), "Mine")
    assert (None if read is None else read().model_dump()) == fields


def test_params_of_a_base_in_another_file(tmp_path):
    path = tmp_path / "heir.py"
    path.write_text("from oltr_cli.methods.dme import DME\n\nclass Heir(DME):\n    pass\n")
    read = params_of(str(path), "Heir")
    assert read is not None
    assert read().model_dump() == METHODS.load("dme").Params().model_dump()
