"""oltr_cli.Recogniser: what oltr predict and oltr embed say, to the last bit, for files and for images in memory."""

import json
import re
from fractions import Fraction
from itertools import count, islice

import numpy as np
import pytest
import torch
from PIL import Image

from oltr_cli import DataProblem, Recogniser, UsageProblem, evaluate
from oltr_cli.data.images import decode_pixels
from oltr_cli.inference.recogniser import Recogniser as Loaded
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.in_process import oltr_here

METHODS = ("plain", "dme", "dme+energy", "plain+odin")
HALVES = [(0.5, 0.0), (np.float64(0.5), 0), (np.float32(0.5), np.int64(0)), (Fraction(1, 2), 0)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {method: [] for method in METHODS})
    patch.undo()


@pytest.fixture
def files(finished, tmp_path):
    """Images of several kinds, one that is cut short and one that is not there."""
    listed = [*finished.files("test"), *finished.files("open")]
    with Image.open(listed[0]) as image:
        small = image.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    wide = small.resize((40, 25))
    wide.save(tmp_path / "turned.jpg", exif=exif)
    wide.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).save(tmp_path / "deep.png")
    clear = wide.convert("RGBA")
    clear.putalpha(90)
    clear.save(tmp_path / "clear.png")
    wide.quantize(9).save(tmp_path / "palette.gif")
    made = [str(tmp_path / name) for name in ("turned.jpg", "grey.png", "deep.png", "clear.png", "palette.gif")]
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:-60])
    return [*listed[:9], *made, str(tmp_path / "cut.jpg"), str(tmp_path / "gone.jpg"), *listed[9:]]


def printed(run: str, files, *options) -> list[dict]:
    words = ("predict", run, *files, "--json", "--device", "cpu", "--workers", 0, *options)
    _, out, err = oltr_here(*words)
    assert out, err
    return json.loads(out)["images"]


def as_printed(verdict) -> dict:
    """A verdict as the command prints it."""
    if verdict.error:
        empty = {"label": None, "unknown": None, "confidence": None, "top": []}
        return {"image": verdict.path, **empty, "error": verdict.error}
    top = [{"class": name, "probability": share} for name, share in verdict.top]
    facts = {"label": verdict.label, "unknown": verdict.unknown, "confidence": verdict.confidence, "top": top}
    if verdict.label_set is not None:
        facts["set"] = verdict.label_set
    if verdict.taxon is not None:
        facts["taxon"] = vars(verdict.taxon)
    return {"image": verdict.path, **facts, "error": None}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_verdicts_are_those_of_the_command(finished, files, method, batch):
    run = finished.names[method]
    made = Recogniser.load(run, device="cpu").predict(files, top_k=3, batch_size=batch)
    assert [as_printed(one) for one in made] == printed(run, files, "--top-k", 3, "--batch-size", batch)
    assert sum(bool(one.error) for one in made) == 2


@pytest.fixture
def tree(finished, tmp_path):
    file = tmp_path / "tree.csv"
    names = Recogniser.load(finished.names["plain"], device="cpu").class_names
    file.write_text("".join(f"{name},{'soft' if i % 2 else 'hard'}\n" for i, name in enumerate(names)))
    return file


@pytest.mark.parametrize("method", ["plain", "dme+energy"])
def test_label_sets_and_taxa_are_those_of_the_command(finished, files, tree, method):
    run = finished.names[method]
    recogniser = Recogniser.load(run, device="cpu")
    for python, words in (
        ({"coverage": 0.6}, ["--coverage", 0.6]),
        ({"taxonomy": str(tree)}, ["--taxonomy", tree]),
        (
            {"coverage": 0.7, "set_score": "pas", "class_weight": 1, "taxonomy": tree, "at_least": 0.7},
            ["--coverage", 0.7, "--set-score", "pas", "--class-weight", 1, "--taxonomy", tree, "--at-least", 0.7],
        ),
    ):
        made = recogniser.predict(files, top_k=2, **python)
        assert [as_printed(one) for one in made] == printed(run, files, "--top-k", 2, *words)
        failed = next(one for one in made if one.error)
        assert (failed.label_set, failed.taxon) == (None, None)
    plain = recogniser.predict(files[:1])[0]
    assert (plain.label_set, plain.taxon, plain.wider) == (None, None, None)
    # Other numbers of the same value ask for the same.
    sets = [[v.label_set for v in recogniser.predict(files, coverage=c, class_weight=w)] for c, w in HALVES]
    assert all(one == sets[0] for one in sets)


def test_the_same_sets_again_read_no_scores(finished, files, monkeypatch):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    first = recogniser.predict(files[:4], coverage=0.6)
    other = recogniser.predict(files[:4], coverage=0.3)
    again = recogniser.predict(files[:4], coverage=0.6)
    assert [one.label_set for one in again] == [one.label_set for one in first]
    assert sum(len(one.label_set) for one in other) < sum(len(one.label_set) for one in first)
    monkeypatch.setattr("oltr_cli.inference.wider._validation", None)  # whoever reads them fails
    assert recogniser.predict(files[:4], coverage=0.6) == again


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"coverage": 0}, "coverage 0: give a share above 0 and below 1"),
        ({"coverage": 1}, "coverage 1: give a share"),
        ({"coverage": float("nan")}, "coverage nan: give a share"),
        ({"coverage": "0.9"}, "coverage 0.9: give a share"),
        ({"coverage": True}, "coverage True: give a share"),
        ({"coverage": 0.9, "set_score": "sofmax"}, "no set score 'sofmax'; did you mean 'softmax'"),
        ({"coverage": 0.9, "class_weight": 2}, "class weight 2: give a weight from 0"),
        ({"class_weight": 0.5}, "give coverage, such as 0.9"),
        ({"set_score": "pas"}, "give coverage, such as 0.9"),
        ({"at_least": 0.9}, "needs a taxonomy"),
        ({"taxonomy": "TREE", "at_least": 0.5}, "at least 0.5: give a probability above 0.5"),
        ({"taxonomy": "TREE", "at_least": "0.9"}, "at least 0.9: give a probability"),
    ],
)
def test_a_wrong_argument_of_sets_and_taxa_is_one_line(finished, files, tree, given, said):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    given = {key: tree if value == "TREE" else value for key, value in given.items()}
    with pytest.raises(UsageProblem, match=re.escape(said)):
        recogniser.stream(files, **given)


def test_the_threshold_is_the_commands_too(finished, files):
    run = finished.names["dme"]
    for tau in ("0.3", "id_quantile:0.8"):
        recogniser = Recogniser.load(run, device="cpu", threshold=tau)
        assert [as_printed(one) for one in recogniser.predict(files)] == printed(run, files, "--threshold", tau)
    assert recogniser.threshold_rule.startswith("id_quantile:0.8")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_in_memory_is_its_file(finished, files, workers):
    recogniser = Recogniser.load(finished.names["dme"], device="cpu")
    good = [file for file in files if not file.endswith(("cut.jpg", "gone.jpg"))]
    expected = recogniser.predict(good, top_k=5)
    opened = [Image.open(file) for file in good]
    pixels = [decode_pixels(file) for file in map(type(finished.runs), good)]
    for array in pixels[::2]:
        array.flags.writeable = False
    mixed = [
        (file, image, array)[i % 3] for i, (file, image, array) in enumerate(zip(good, opened, pixels, strict=True))
    ]
    for images in (opened, pixels, mixed, iter(mixed)):
        made = recogniser.predict(images, top_k=5, workers=workers)
        assert [(one.label, one.confidence, one.top) for one in made] == [
            (one.label, one.confidence, one.top) for one in expected
        ]
    assert recogniser.predict([opened[0]])[0].path == "images[0]"
    grey = Image.open(next(file for file in good if file.endswith("grey.png")))
    assert recogniser.predict([np.asarray(grey)])[0].top == recogniser.predict([grey])[0].top


def test_a_picture_that_cannot_be_decoded_is_an_error_in_its_place(finished, files):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    cut = Image.open(next(file for file in files if file.endswith("cut.jpg")))
    made = recogniser.predict([files[0], cut, Image.new("F", (9, 9)), files[1]])
    assert [bool(one.error) for one in made] == [False, True, True, False]
    assert "cannot be decoded (image file is truncated" in made[1].error
    assert "values of unknown range" in made[2].error
    assert recogniser.predict([]) == []


def test_a_wrong_item_is_named_and_nothing_else_is_tried(finished, files):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    for ask in (recogniser.predict, recogniser.embed, recogniser.scores, recogniser.stream):
        with pytest.raises(UsageProblem, match=r"images\[1\]: torch.Tensor of torch.uint8 \(3, 4, 4\) is not an image"):
            ask([files[0], torch.zeros(3, 4, 4, dtype=torch.uint8)])
    with pytest.raises(UsageProblem, match="top_k=0"):
        recogniser.predict(files, top_k=0)
    with pytest.raises(UsageProblem, match="batch_size=0"):
        recogniser.predict(files, batch_size=0)
    with pytest.raises(UsageProblem, match="--explain: plain has no centroids"):
        recogniser.predict(files, explain=True)


def test_a_stream_without_end_is_read_batch_by_batch(finished, files):
    recogniser, asked = Recogniser.load(finished.names["dme"], device="cpu"), count()

    def endless():
        for i in asked:
            yield files[i % 9]

    made = list(islice(recogniser.stream(endless(), batch_size=4, explain=True), 10))
    assert next(asked) <= 16
    assert [one.path for one in made] == [files[i % 9] for i in range(10)]
    assert all(one.reasons and len(one.reasons.nearest) == 3 for one in made)


@pytest.mark.parametrize("method", METHODS)
def test_features_are_those_of_the_command(finished, files, tmp_path, method):
    good = [file for file in files if not file.endswith(("cut.jpg", "gone.jpg"))]
    run = finished.names[method]
    code, _, err = oltr_here("embed", run, *good, "--out", tmp_path / "f.npz", "--device", "cpu", "--workers", 0)
    assert code == 0, err
    recogniser = Recogniser.load(run, device="cpu")
    made = recogniser.embed(good)
    np.testing.assert_array_equal(made, np.load(tmp_path / "f.npz")["features"])
    assert made.dtype == np.float32
    assert recogniser.embed([]).shape == (0, made.shape[1])
    with pytest.raises(DataProblem, match=r"images\[15\], .*gone.jpg: no such file"):
        recogniser.embed([*good[:15], files[15], files[0]])
    with pytest.raises(DataProblem, match=r"images\[0\]: cannot be decoded"):
        recogniser.embed([Image.new("F", (9, 9))])


@pytest.mark.parametrize("method", ["dme", "dme+energy"])
def test_scores_with_labels_evaluate_like_the_run(finished, method):
    recogniser = Recogniser.load(finished.names[method], device="cpu")
    files, labels = [*finished.files("test"), *finished.files("open")], []
    for split in ("test", "open"):
        labels += finished.scores(method, split).labels.tolist()
    scores = recogniser.scores(files, labels, batch_size=len(files))
    assert scores.labels.tolist() == labels
    of_run = evaluate(finished.names[method])
    made = recogniser.evaluate(scores)
    assert made.run == recogniser.name == of_run.run
    assert made.metrics.keys() == of_run.metrics.keys()
    for name in ("closed/overall", "open/overall", "open/f_measure", "open/auroc"):
        assert made.metrics[name] == pytest.approx(of_run.metrics[name], abs=1e-6), name
    assert recogniser.evaluate(scores, shots="code").shots == "code"
    for wrong in (labels[:-1], [0.5] * len(labels), [99] * len(labels), [labels]):
        with pytest.raises(UsageProblem, match="labels: "):
            recogniser.scores(files, wrong)
    assert set(recogniser.scores(files[:3]).labels.tolist()) == {-1}


def test_it_says_what_it_is(finished):
    recogniser, loaded = (one.load(finished.names["dme"]) for one in (Recogniser, Loaded))
    assert recogniser.class_names == loaded.class_names
    assert recogniser.class_counts == [24, 12, 6, 2, 1]
    assert (recogniser.threshold, recogniser.threshold_rule) == (0.1, "fixed:0.1")
    assert repr(recogniser) == f"<Recogniser {finished.names['dme']}, 5 classes, τ = 0.1>"
    recogniser.class_names.clear()
    assert len(recogniser.class_names) == 5
    assert Recogniser.load(finished.path("dme")).name == recogniser.name
    for wrong, says in (("nowhere", "nowhere"), (b"x", "bytes")):
        with pytest.raises(UsageProblem, match=says):
            Recogniser.load(wrong)
    with pytest.raises(UsageProblem, match="not available here"):
        Recogniser.load(finished.names["dme"], device="quantum")


@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_k": "3"},
        {"top_k": None},
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"workers": -1},
        {"workers": None},
        {"taxonomy": 3},
        {"taxonomy": b"birds.csv"},
        {"taxonomy": ""},
    ],
)
def test_an_argument_of_another_type_is_one_line_with_its_name(finished, files, given):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    with pytest.raises(UsageProblem, match=rf"^{next(iter(given))}[=:]"):
        recogniser.predict(files[:1], **given)
    assert recogniser.predict(files[:1], top_k=np.int64(2))[0].top


def test_what_is_no_run_and_no_device_is_one_line():
    for wrong in (None, 3, b"mine/dme"):
        with pytest.raises(UsageProblem, match=r"^run: .*give text or a path"):
            Recogniser.load(wrong)
    with pytest.raises(UsageProblem, match=r"^device: 3 is not text"):
        Recogniser.load("mine/dme", device=3)


def test_scores_and_labels_of_another_form_are_one_line(finished, files):
    recogniser = Recogniser.load(finished.names["plain"], device="cpu")
    with pytest.raises(UsageProblem, match=r"^labels: are not a list of numbers"):
        recogniser.scores(files[:2], [[1], [2, 3]])
    with pytest.raises(UsageProblem, match=r"^scores: dict is not what Recogniser.scores gives"):
        recogniser.evaluate({"labels": [0], "logits": [[1.0, 2.0]]})
