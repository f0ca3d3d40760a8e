"""oltr export: files whose answers are those of the network, by torch.export and by onnxruntime, without our code."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base import added_files
from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.conformance import methods as method_conformance
from oltr_cli.conformance.methods import BACKBONE, CLASS_COUNTS, IMAGE_SIZE
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import OltrError, UsageProblem
from oltr_cli.inference import export, export_check, export_formats
from oltr_cli.inference.export import Deployed, capture, description
from oltr_cli.inference.export_formats import SUFFIXES, from_bytes, to_bytes
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.method import Scores, Setup
from oltr_cli.methods.dme import DME
from oltr_cli.methods.plain import Plain
from oltr_cli.recipe.data import DataSpec
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.tiny import make_tiny_dataset

ROOT = Path(__file__).parents[2]
SPEC = DataSpec(name="tiny", image_size=IMAGE_SIZE, eval_resize=IMAGE_SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
DME_PARAMS = [
    {"attention": "none"},
    {"attention": "spatial"},
    {"attention": "modulated", "squash": "paper", "coefficients": "linear"},
    {"attention": "none", "memory": False, "concept_selector": False},
    {"attention": "none", "calibrator": False},
]


# What goes through onnxruntime as well: every attention (the modulated one below), and every kind of head.
IN_ONNX = ["plain", "fslwf", "metamodelnet", "tau-norm", *DME_PARAMS[:2]]


class Stub(nn.Module):
    """A backbone that is little work for the exporters: a map of 2 by 2 cells and 64 channels, some of them 0."""

    def __init__(self, size):
        super().__init__()
        self.conv = nn.Conv2d(3, 64, size // 2, stride=size // 2)

    def feature_map(self, images):
        return self.conv(images).relu()

    def pool(self, feature_map):
        return feature_map.mean((2, 3))

    def forward(self, images):
        return self.pool(self.feature_map(images))


def moved(network):
    """Away from the special weights that some methods start with: an attention of 0, factors of 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.to(memory_format=torch.channels_last).eval()


def dme(**params):
    """For 32 pixels, of which a map of 2 by 2 cells is left."""
    torch.manual_seed(0)
    return DME(Setup(BACKBONE, 32, CLASS_COUNTS, DME.Params(**params)))


def images(batch, size=IMAGE_SIZE):
    return np.random.default_rng(batch).integers(0, 256, (batch, 3, size, size), np.uint8)


def by_hand(network, pixels):
    """The network's own scores, normalised here."""
    mean, std = (np.float32(values).reshape(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    with torch.no_grad():
        scores = network(torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std))
    logits = scores.logits.numpy()
    return {
        "logits": logits,
        "confidence": scores.confidence.numpy(),
        "prediction": logits.argmax(1),
        "features": scores.features.numpy(),
    }


@pytest.mark.parametrize("name", [name for name in IN_ONNX if isinstance(name, str)])  # the others: conformance
def test_a_file_says_what_a_method_says(name):
    network = method_conformance.build(name)
    network.backbone = Stub(IMAGE_SIZE)
    check_files(moved(network), IMAGE_SIZE, in_onnx=True)


@pytest.mark.parametrize("params", DME_PARAMS, ids=str)
def test_a_file_says_what_a_variant_of_dme_says(params):
    network = dme(**params)
    network.backbone = Stub(32)
    check_files(moved(network), 32, params in IN_ONNX)


def test_a_file_says_what_a_whole_network_says():
    check_files(moved(dme(extra_fc=True)), 32, in_onnx=True)


def check_files(network, size, in_onnx):
    batches = [images(batch, size) for batch in (1, 7)]
    wanted = [by_hand(network, batch) for batch in batches]
    program = capture(Deployed(network, SPEC, None), size, "a run")
    for kind, tolerance in (("torch", 1e-5), ("onnx", 5e-5))[: 1 + in_onnx]:
        answer = from_bytes(to_bytes(program, kind, {}), kind)
        # As arrays, and as photographs lie in memory: channels last.
        arrays = [*batches, np.ascontiguousarray(batches[1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)]
        for batch, scores in zip(arrays, [*wanted, wanted[1]], strict=True):
            said = answer(batch)
            assert list(said) == list(scores)
            for name, values in scores.items():
                assert said[name].dtype == values.dtype
                np.testing.assert_allclose(said[name], values, rtol=tolerance, atol=tolerance, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("rule", [None, lambda logits: logits.amax(dim=1)], ids=["the network's own", "maxlogit"])
def test_a_network_that_overflowed_is_not_sure(kind, rule):
    """A maximum may drop a NaN, in onnxruntime, and what is left would pass for a confidence."""
    network = method_conformance.build("plain")
    network.backbone = Stub(IMAGE_SIZE)
    with torch.no_grad():
        network.classifier.bias[1] = float("nan")
    answer = from_bytes(to_bytes(capture(Deployed(network, SPEC, rule), IMAGE_SIZE, "a run"), kind, {}), kind)
    assert np.isnan(answer(images(3))["confidence"]).all()


class Awkward(Plain):
    """Its forward asks the pixels which way to go."""

    def forward(self, images):
        scores = super().forward(images)
        return scores if images.sum() > 0 else Scores.from_logits(-scores.logits, scores.features)


def test_a_forward_that_cannot_be_captured_is_named():
    network = Awkward(Setup(BACKBONE, IMAGE_SIZE, CLASS_COUNTS, Plain.Params()))
    with pytest.raises(OltrError, match=r"^tiny/awkward/1-s0 cannot be exported: its forward cannot .* \(.+\)$"):
        capture(Deployed(network, SPEC, None), IMAGE_SIZE, "tiny/awkward/1-s0")


def test_what_does_not_fit_into_onnx_is_sent_to_torch(monkeypatch):
    monkeypatch.setattr(export_formats, "ONNX_LIMIT", 1000)
    network = method_conformance.build("plain")
    network.backbone = Stub(IMAGE_SIZE)
    program = capture(Deployed(network, SPEC, None), IMAGE_SIZE, "a run")
    with pytest.raises(UsageProblem, match="--to torch"):
        to_bytes(program, "onnx", {})


ADDED = '''"""Centred energy: the soft maximum of the logits less what they are on average in training."""

import torch

from oltr_cli.detector import LogitDetector, MethodParams


class Centred(LogitDetector):
    class Params(MethodParams):
        sharpness: float = 2.0

    def fit(self, train):
        self.mean = torch.from_numpy(self.require(train).logits.mean(axis=0))

    def from_logits(self, logits):
        s = self.setup.params.sharpness
        return ((logits - self.mean) * s).logsumexp(dim=1) / s
'''


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    patch.setattr(added_files, "_added", {})
    (home / "centred.py").write_text(ADDED)
    added_files.add_file(home / "centred.py")
    wanted = {"dme+energy": [], "plain+knn": [], "plain+centred": ["detector.sharpness=0.5"]}
    made = make_finished_runs(home, {"plain": [], "dme": [], **wanted})
    for result in made.runs.glob("tiny/*/*/result.json"):
        content = read_json(result)
        content["class_names"][0] = 'Käfer "é"\n☃'
        result.write_text(json.dumps(content))
    yield made
    patch.undo()


def exported(*arguments):
    done = CliRunner().invoke(app, ["export", *map(str, arguments), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def refused(*arguments):
    done = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert isinstance(done.exception, OltrError), (done.output, done.exception)
    return done.exception


@pytest.fixture(scope="module")
def files(finished, tmp_path_factory):
    """dme+energy in both formats: what the command said, by format."""
    folder = tmp_path_factory.mktemp("ünï cödé")
    return {kind: exported(finished.names["dme+energy"], "--to", kind, "--out", folder) for kind in SUFFIXES}


def open_file(said):
    """(description, answer) of a file, by the runtimes alone."""
    if said["format"] == "onnx":
        session = onnxruntime.InferenceSession(said["file"])
        about = session.get_modelmeta().custom_metadata_map["oltr"]
        return json.loads(about), lambda x: session.run(None, {"images": x})
    extra = {"oltr": ""}
    network = torch.export.load(said["file"], extra_files=extra).module()
    return json.loads(extra["oltr"]), lambda x: [out.numpy() for out in network(torch.from_numpy(x)).values()]


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_file_holds_the_runs_scores_and_what_they_mean(finished, files, kind):
    said = files[kind]
    assert Path(said["file"]).name == finished.names["dme+energy"].replace("/", "-") + SUFFIXES[kind]
    assert said["bytes"] == Path(said["file"]).stat().st_size
    assert said["checked_with"] == ("onnxruntime" if kind == "onnx" else "torch")
    assert 0 <= said["difference"] < 1e-4
    assert said["from_saved"] is None, "its images are gone"
    about, answer = open_file(said)
    assert about == said["about"]
    result = json.loads((finished.path("dme+energy") / "result.json").read_text())
    assert about["class_names"] == result["class_names"]
    assert about["class_names"][0] == 'Käfer "é"\n☃'
    assert np.float32(about["threshold"]["value"]) == np.float32(result["threshold"]["value"])
    assert about["threshold"]["rule"] == result["threshold"]["rule"]
    assert (about["run"], about["recipe_hash"], about["seed"]) == (result["run"], result["hash"], 0)
    how = about["preprocessing"]
    assert (how["resize_shorter_side"], how["center_crop"], how["color"]) == (16, 16, "RGB")
    assert how["normalisation"] == {
        "inside_the_file": True,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    check_scores(finished, answer, "dme+energy")


def check_scores(finished, answer, method):
    """A file says of the images of test and open what the run of a detector has saved."""
    spec = DataSpec(name="tiny", image_size=16, eval_resize=16)
    for split in ("test", "open"):
        saved, judged = (finished.scores(name, split) for name in (method.partition("+")[0], method))
        crops = [evaluation_crop(decode_file(Path(file)), spec).numpy() for file in finished.files(split)]
        logits, confidence, prediction, features = answer(np.stack(crops))
        np.testing.assert_allclose(logits, saved.logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(features, saved.features, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(confidence, judged.confidence, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(prediction, logits.argmax(1))


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_formula_of_the_logits_from_an_added_file_is_exported(finished, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(added_files, "_added", {})  # as in a process that knows it by --methods-from alone
    file = finished.runs.parent / "centred.py"
    said = exported(finished.names["plain+centred"], "--to", kind, "--out", tmp_path, "--methods-from", file)
    assert said["checked_with"] is not None
    check_scores(finished, open_file(said)[1], "plain+centred")


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_file_says_nothing_of_the_machine_it_was_made_on(files, kind):
    content = Path(files[kind]["file"]).read_bytes()
    for path in (ROOT, Path.home(), Path(torch.__file__).parent, Path(sys.prefix)):
        assert str(path).encode() not in content


def test_the_onnx_file_is_plain(files):
    model = onnx.load(files["onnx"]["file"])
    onnx.checker.check_model(model, full_check=True)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    assert shapes == {"images": ["batch", 3, 16, 16]}
    assert [v.name for v in model.graph.output] == ["logits", "confidence", "prediction", "features"]
    assert all(v.type.tensor_type.shape.dim[0].dim_param == "batch" for v in model.graph.output)
    assert {node.domain for node in model.graph.node} == {""}
    assert [p.key for p in model.metadata_props] == ["oltr"]


def test_a_threshold_of_ones_own(finished):
    about = description(Recogniser.load(finished.names["plain"], threshold=0.7))
    assert about["threshold"] == {"value": float(np.float32(0.7)), "rule": "fixed:0.7"}
    about = description(Recogniser.load(finished.names["plain"], threshold="id_quantile:0.5"))
    assert about["threshold"]["rule"] == "id_quantile:0.5"


def test_thresholds_by_class_are_written_for_each_class(finished):
    recogniser = Recogniser.load(finished.names["plain"], threshold="group_quantile:0.5")
    about = description(recogniser)
    assert np.array_equal(np.float32(about["threshold"]["by_class"]), np.float32(recogniser.chosen.by_class))
    assert about["threshold"]["rule"] == "group_quantile:0.5"
    assert "by_class[prediction]" in about["outputs"]["confidence"]


def sample(*sections):
    """Names that the documented samples leave behind; they are found by a word that only one of them holds."""
    page = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page.split("\n## Export\n")[1].split("\n## ")[0], re.S)
    words = {"crop": "def crop", "onnx": "onnxruntime", "torch": "import torch"}
    space: dict = {}
    for section in sections:
        (code,) = [block for block in blocks if words[section] in block]
        exec(compile(code, section, "exec"), space)
    return space


@pytest.mark.parametrize(
    ("size", "resize"), [((53, 37), 24), ((40, 91), 24), ((24, 24), 24), ((24, 31), 24), ((9, 9), 20)]
)
def test_the_documented_crop_is_ours(tmp_path, size, resize):
    """But for a rounding: Pillow and torchvision resize with integers of other widths."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    ours = evaluation_crop(decode_file(tmp_path / "a.png"), DataSpec(name="a", image_size=16, eval_resize=resize))
    theirs = sample("crop")["crop"](tmp_path / "a.png", {"resize_shorter_side": resize, "center_crop": 16})
    assert theirs.dtype == np.uint8
    assert np.abs(theirs.astype(int) - ours.numpy()).max() <= 1


@pytest.mark.parametrize("kind", ["grey of 16 bits", "one grey of them clear", "alpha", "palette", "grey and alpha"])
def test_the_documented_crop_reads_as_ours(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 65536, (24, 30), np.uint16)
    picture, options = Image.fromarray(noise), {}
    if kind == "one grey of them clear":
        options = {"transparency": int(noise[12, 15])}
    elif kind == "alpha":
        picture = Image.fromarray(noise.view(np.uint8).reshape(24, 15, 4), "RGBA")
    elif kind == "palette":
        picture, options = Image.fromarray(noise.view(np.uint8)).convert("P"), {"transparency": 7}
    elif kind == "grey and alpha":
        picture = Image.fromarray(noise.view(np.uint8).reshape(24, 30, 2), "LA")
    picture.save(tmp_path / "a.png", **options)
    ours = evaluation_crop(decode_file(tmp_path / "a.png"), DataSpec(name="a", image_size=12, eval_resize=12))
    theirs = sample("crop")["crop"](tmp_path / "a.png", {"resize_shorter_side": 12, "center_crop": 12})
    assert np.abs(theirs.astype(int) - ours.numpy()).max() <= 1


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_documented_sample_says_what_predict_says(finished, files, kind, tmp_path, monkeypatch, capsys):
    """On a photograph that is turned by EXIF, of odd sides, and larger than what the network sees."""
    monkeypatch.chdir(tmp_path)
    Path(f"model{SUFFIXES[kind]}").symlink_to(files[kind]["file"])
    (first, *_) = finished.files("test")
    picture = Image.open(first).resize((53, 37), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save("photo.jpg", exif=exif, quality=95)
    told = CliRunner().invoke(app, ["predict", finished.names["dme+energy"], "photo.jpg", "--json", "--workers", "0"])
    (row,) = json.loads(told.stdout)["images"]
    capsys.readouterr()
    sample("crop", kind)
    label, _, confidence = capsys.readouterr().out.strip().rpartition(" ")
    assert label == row["label"]
    assert float(confidence) == pytest.approx(row["confidence"], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "torch", "--out", "model.onnx"], "ends in .pt2; for .onnx add --to onnx"),
        (["--to", "onnx", "--out", "model"], "ends in .onnx"),
        (["--threshold", "val_opne"], "val_open"),
    ],
)
def test_what_does_not_fit_is_refused(finished, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    error = refused(finished.names["plain"], *arguments)
    assert error.exit_code == 2
    assert says in str(error)
    assert not list(tmp_path.iterdir())


def test_a_detector_that_needs_more_than_logits_is_refused_with_the_run_to_export(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused(finished.names["plain+knn"])
    assert error.exit_code == 2
    assert "knn is not a formula of the logits alone" in str(error)
    assert str(error).endswith(f"oltr export {finished.names['plain']}")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_their_command(finished, monkeypatch):
    find = export_formats.importlib.util.find_spec
    monkeypatch.setattr(
        export_formats.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    error = refused(finished.names["plain"])
    assert error.exit_code == 2
    assert "needs onnxscript: pip install onnx onnxscript" in str(error)


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is captured, and the file is a word."""
    monkeypatch.setattr(export, "capture", lambda module, side, name: None)
    monkeypatch.setattr(export, "to_bytes", lambda program, kind, about: b"a file")


def test_a_file_that_is_there_is_replaced_only_by_force(finished, tmp_path, monkeypatch, no_work):
    file = tmp_path / "model.pt2"
    file.write_bytes(b"precious")
    error = refused(finished.names["plain"], "--to", "torch", "--out", file)
    assert error.exit_code == 2
    assert "--force" in str(error)
    assert file.read_bytes() == b"precious"
    monkeypatch.setattr(export, "from_bytes", lambda content, kind: None)
    arguments = ["export", finished.names["plain"], "--to", "torch", "--out", str(file), "--force"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert file.read_bytes() == b"a file"
    assert done.stdout.startswith(f"{file}  ")
    assert "unknown where confidence < 0.1 (fixed:0.1)" in done.stdout
    assert f"next  oltr data active {finished.names['plain']} --methods-from" in done.stderr


def test_without_onnxruntime_the_file_is_written_and_said_to_be_unchecked(finished, tmp_path, monkeypatch, no_work):
    find = export_formats.importlib.util.find_spec
    monkeypatch.setattr(
        export_formats.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    done = CliRunner().invoke(app, ["export", finished.names["plain"], "--out", str(tmp_path), "--json"])
    said = json.loads(done.stdout)
    assert (said["checked_with"], said["difference"]) == (None, None)
    assert Path(said["file"]).read_bytes() == b"a file"
    assert "pip install onnxruntime" in done.stderr


def test_a_file_is_compared_with_the_scores_that_were_saved(finished, tmp_path, monkeypatch):
    make_tiny_dataset(tmp_path / "data" / "tiny")
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    assert exported(finished.names["plain"], "--to", "torch", "--out", tmp_path / "a.pt2")["from_saved"] < 1e-3
    recogniser = Recogniser.load(finished.path("plain"))
    with torch.no_grad():
        recogniser.network.classifier.weight += 0.1
    with pytest.raises(OltrError, match=r"differ from the saved ones by \d.*not written"):
        export.export_run(recogniser, "torch", tmp_path / "b.pt2", Display(quiet=True))
    assert not (tmp_path / "b.pt2").exists()


def test_for_the_comparison_only_the_test_images_are_opened(finished, tmp_path, monkeypatch):
    make_tiny_dataset(tmp_path / "data" / "tiny")
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    asked = []

    def opened(spec, progress=None, only=None):
        asked.append(only)
        return open_dataset(spec, progress, only)

    monkeypatch.setattr(export_check, "open_dataset", opened)
    recogniser = Recogniser.load(finished.names["plain"])
    sample = export_check.saved_sample(recogniser)
    assert asked == [("train", "test")]
    np.testing.assert_array_equal(sample.logits, finished.scores("plain", "test").logits[: export_check.SAMPLE])
    monkeypatch.setattr(export_check, "other_lists", lambda spec, digest: (Path("lists"), "another"))
    assert export_check.saved_sample(recogniser) is None


@pytest.mark.parametrize("off", [0.01, np.nan])
def test_a_file_with_other_scores_is_never_put_in_place(finished, tmp_path, monkeypatch, no_work, off):
    network = Recogniser.load(finished.names["plain"]).network

    def spoilt(pixels):
        with torch.no_grad():
            said = Deployed(network, DataSpec(name="tiny"), None)(torch.from_numpy(pixels))
        return {name: out.numpy() + np.float32(off if name == "confidence" else 0) for name, out in said.items()}

    monkeypatch.setattr(export, "from_bytes", lambda content, kind: spoilt)
    file = tmp_path / "model.pt2"
    file.write_bytes(b"precious")
    error = refused(finished.names["plain"], "--to", "torch", "--out", file, "--force")
    assert error.exit_code == 1
    assert f"the confidence of the exported file differ from the run's by {off}" in str(error)
    assert file.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
