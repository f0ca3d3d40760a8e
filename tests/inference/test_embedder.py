"""``oltr embed``: features of any images by a run's network, or by a backbone with weights from elsewhere."""

import json
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from oltr_cli.base.display import Display
from oltr_cli.errors import NotFinite
from oltr_cli.inference.embedder import Embedder, embed
from oltr_cli.inference.image_paths import image_sources
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.pipeline.make import run_method
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.runs.scores import SavedScores
from tests.helpers.tiny import Oltr

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_data, tiny_recipe):
    """A folder with runs/, where plain and plain+odin are finished, and files of weights."""
    folder = tmp_path_factory.mktemp("embed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLTR_RUNS", str(folder / "runs"))
        patch.setenv("OLTR_DATA", str(tiny_data))
        for method in ("plain", "plain+odin"):
            run_method(method, str(tiny_recipe), device="cpu", track=False, workers=0, display=Display(True))
    torch.manual_seed(0)
    for name in ("test_efficientnet", "test_vit"):
        torch.save(timm.create_model(name).state_dict(), folder / f"{name}.pth")
    return folder


@pytest.fixture
def oltr(home, tiny_data):
    return Oltr(home / "runs", tiny_data)


@pytest.mark.parametrize("method", ["plain", "plain+odin"])
def test_a_runs_features_are_those_of_its_scores(oltr, home, tiny_data, tmp_path, method):
    out = tmp_path / "new" / "features.npz"
    words = ("embed", f"tiny/{method}/", tiny_data / "tiny/test", "--out", out, "--json", "--batch-size", 7)
    facts = json.loads(oltr(*words, "--workers", 0).stdout)
    (run,) = (home / "runs/tiny/plain").iterdir()
    saved = SavedScores.load(run / "scores/test.npz")
    with np.load(out) as written:
        assert written.files == ["features", "paths"]
        names = [str(Path(path).relative_to(tiny_data / "tiny")) for path in written["paths"]]
        order = [names.index(name) for name in saved.paths]
        assert written["features"].dtype == np.float32
        np.testing.assert_allclose(written["features"][order], saved.features, rtol=1e-4, atol=1e-5)
    assert (facts["images"], facts["features"], facts["failed"]) == (20, saved.features.shape[1], [])
    assert facts["network"] == f"tiny/plain/{run.name}"


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_a_backbones_features_are_those_of_timm(oltr, home, tiny_data, tmp_path, name):
    out, image = tmp_path / "f.npz", tiny_data / "tiny/test/c0/0.png"
    weights = home / f"{name}.pth"
    words = ("embed", f"timm/{name}", image, "--weights", weights, "--image-size", 96, "--out", out)
    done = oltr(*words)
    assert done.stdout.startswith(f"{out}: 1 image, ")
    assert re.search(rf"{name}\.pth: \d+ entries loaded; \d not used: \w+", done.stderr.replace("\n", " "))
    model = timm.create_model(name, num_classes=0).eval()
    model.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    embedder = Embedder.of_backbone(BackboneSpec(name=f"timm/{name}", weights=str(weights)), CPU, 96)
    with ImageStream(image_sources([str(image)]), embedder.data, 4, 0) as stream:
        (batch,) = stream
    assert batch.crops.shape == (1, 3, 96, 96)
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        wanted = model((torch.from_numpy(batch.crops) / 255 - mean) / std).numpy()
    with np.load(out) as written:
        np.testing.assert_allclose(written["features"], wanted, rtol=1e-3, atol=1e-4)
        assert written["paths"].tolist() == [str(image)]


def test_what_cannot_be_decoded_is_named_and_left_out(oltr, tiny_data, tmp_path):
    shots, out = tmp_path / "shots", tmp_path / "f.npz"
    shutil.copytree(tiny_data / "tiny/test/c0", shots)
    (shots / "1.png").write_bytes(b"no image")
    words = ("embed", "tiny/plain/", shots, tmp_path / "gone.png", "--out", out, "--json")
    done = oltr(*words, check=1)
    assert f"{shots / '1.png'}: cannot be decoded" in done.stderr
    assert f"error: 2 of 5 images cannot be read and are not in {out}" in done.stderr
    facts = json.loads(done.stdout)
    assert [one["path"] for one in facts["failed"]] == [str(shots / "1.png"), str(tmp_path / "gone.png")]
    with np.load(out) as written:
        assert written["paths"].tolist() == [str(shots / f"{i}.png") for i in (0, 2, 3)]
        assert len(written["features"]) == 3
    none = oltr("embed", "tiny/plain/", shots / "1.png", "--out", tmp_path / "none.npz", check=1)
    assert "1 image, of which none can be read" in none.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "shots"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["timm/test_vit"], "needs weights: --weights FILE, hub (of timm) or torchvision"),
        (["resnet10", "--weights", "hub"], "the hub has those of timm/NAME, not of resnet10"),
        (["timm/tset_vit", "--weights", "hub"], "timm has no model 'tset_vit'; did you mean 'test_vit'?"),
        (["tiny/plain/", "--image-size", "32"], "--image-size is for a backbone"),
        (["tiny/plain/", "--weights", "hub"], "--weights is for a backbone"),
        (["tiny/none"], "no run 'tiny/none'"),
        (["tiny/plain/", "--out", "f.npy"], "must end in .npz"),
        (["tiny/plain/", "--out", "there.npz"], "there.npz exists; replace it with --force"),
    ],
)
def test_what_is_refused(oltr, tiny_data, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    Path("there.npz").write_bytes(b"")
    out = [] if "--out" in words else ["--out", "f.npz"]
    done = oltr("embed", words[0], tiny_data / "tiny/test", *words[1:], *out, check=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert Path("there.npz").read_bytes() == b""


def test_force_replaces_a_file(oltr, tiny_data, tmp_path):
    out = tmp_path / "there.npz"
    out.write_bytes(b"")
    oltr("embed", "tiny/plain/", tiny_data / "tiny/test", "--out", out, "--force")
    with np.load(out) as written:
        assert len(written["paths"]) == 20


def test_features_that_are_not_finite_are_not_written(tiny_data, tmp_path):
    data = DataSpec(name="images", image_size=16, eval_resize=16)
    broken = Embedder("broken", data, lambda images: np.full((len(images), 3), np.nan))
    with (
        ImageStream(image_sources([str(tiny_data / "tiny/test")]), data, 4, 0) as stream,
        pytest.raises(NotFinite, match="broken: features contain NaN or infinity"),
    ):
        embed(broken, stream, tmp_path / "f.npz")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_images(tiny_data, tmp_path):
    data = DataSpec(name="images", image_size=16, eval_resize=16)
    large = Embedder("large", data, lambda images: np.ones((len(images), 1_000_000), np.float32))
    sources = image_sources([str(tiny_data / "tiny/test")])  # 20 images, so 80 MB
    with ImageStream(sources, data, 1, 0) as stream:
        tracemalloc.start()
        embed(large, stream, tmp_path / "f.npz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40e6
    assert (tmp_path / "f.npz").stat().st_size > 80e6
