"""oltr show METHOD: a line for every parameter."""

import json

import pytest
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.commands import complete
from oltr_cli.networks.backbones import build_backbone
from oltr_cli.planning.registry import list_methods, load_detector, load_method
from oltr_cli.recipe.specs import BackboneSpec


def test_types_are_in_words_also_of_what_may_be_unset():
    params = json.loads(CliRunner().invoke(app, ["show", "dme", "--json"]).stdout)["params"]
    types = {param["key"].removeprefix("params."): param["type"] for param in params}
    assert types["attention_init"] == "code | zero | unset"
    assert types["recentre"] == "bool | unset"
    assert (types["squash"], types["margin"]) == ("code | paper", "float")


@pytest.mark.parametrize("name", list_methods())
def test_every_parameter_is_described(name):
    done = CliRunner().invoke(app, ["show", name, "--json"])
    assert done.exit_code == 0, done.output
    shown = {param["key"]: param["about"] for param in json.loads(done.stdout)["params"]}
    detector = list_methods()[name].kind == "detector"
    cls, section = (load_detector(name), "detector") if detector else (load_method(name), "params")
    assert list(shown) == [f"{section}.{field.alias}" for field in cls.Params.model_fields.values()]
    for key, about in shown.items():
        assert 5 < len(about) <= 90, f"{key}: {about!r}"
        assert about == " ".join(about.split()), f"{key}: {about!r}"


def test_parameters_are_printed_with_their_descriptions(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    lines = CliRunner().invoke(app, ["show", "dme"]).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("params.repel_weight")]
    assert line.rstrip().endswith("weight of the repelling term inside L_LM")


@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_is_broken_at_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = CliRunner().invoke(app, ["show", "dme"]).stdout.split()
    params = json.loads(CliRunner().invoke(app, ["show", "dme", "--json"]).stdout)["params"]
    words = {word for param in params for word in f"{param['key']} {param['type']} {param['about']}".split()}
    assert words <= set(shown)


def test_a_backbone_is_shown_with_its_keys_and_its_size():
    shown = json.loads(CliRunner().invoke(app, ["show", "resnet10", "--json"]).stdout)
    weights = sum(parameter.numel() for parameter in build_backbone(BackboneSpec(name="resnet10")).parameters())
    assert (shown["kind"], shown["parameters"], shown["features"]) == ("backbone", weights, 512)
    assert [key["key"] for key in shown["keys"]] == [
        *("backbone.stem", "backbone.width", "backbone.weights", "backbone.final_relu", "backbone.fc"),
    ]
    assert "He et al., CVPR 2016" in CliRunner().invoke(app, ["show", "resnet10"]).stdout
    assert complete.shown("resnet10") == ["resnet10", "resnet101"]


@pytest.mark.parametrize(("name", "key", "default"), [("class-balanced", "beta", "0.9999"), ("nci", "alpha", "0.0001")])
def test_a_default_is_shown_with_all_its_digits(name, key, default):
    """With three decimals these two would be 1.000, which the method refuses, and 0.000."""
    shown = CliRunner().invoke(app, ["show", name]).stdout
    line = next(line for line in shown.splitlines() if f".{key} " in line)
    assert line.split()[1] == default
