"""A run made with an added file, and a command that is not given it."""

import json

import pytest

from oltr_cli.data.build.recipe import Sizing
from oltr_cli.errors import UsageProblem
from oltr_cli.networks.backbones import load_backbone
from oltr_cli.planning.registry import canonical, load_detector, load_method
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.made_with import ADDED_FILES, hint

RUN = "tiny/mine+own-det/abc-s0"


@pytest.fixture
def file(tmp_path, monkeypatch, no_files):
    """The file that a run recorded for its method, its detector and its backbone."""
    path = tmp_path / "my files" / "mine.py"
    path.parent.mkdir()
    path.write_text("")
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('[backbone]\nname = "own-net"\n')
    files = dict.fromkeys(("mine", "own-det", "own-net"), str(path))
    (folder / "environment.json").write_text(json.dumps({ADDED_FILES: files}))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return path


def test_the_file_is_named_wherever_a_name_is_unknown(file):
    wanted = f", which {RUN} was made with; add --methods-from '{file}'"
    for name, ask in (
        ("mine", canonical),
        ("mine", load_method),
        ("own-det", load_detector),
        ("own-net", lambda name: load_backbone(BackboneSpec(name=name))),
        ("own-net", lambda name: Sizing(backbone=name)),
        ("own-det", lambda name: canonical(f"dme+{name}")),
    ):
        with pytest.raises(UsageProblem) as caught:
            ask(name)
        assert str(caught.value).endswith(wanted), caught.value


def test_a_file_that_is_gone_or_was_not_recorded(file, tmp_path):
    file.unlink()
    assert hint("mine", ["mine2"]) == f", which {RUN} was made with; add its file (it was {file}): --methods-from FILE"
    (tmp_path / "runs" / RUN / "environment.json").write_text("[]")
    assert hint("own-net", []) == f", which {RUN} was made with; add its file: --methods-from FILE"
    assert hint("mime", ["mine2"]) == "; did you mean 'mine2'?"
