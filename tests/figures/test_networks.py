"""The figures that look into a network (3, 4, 7): maps and neurons recomputed one by one, and a real run drawn."""

import csv
import io
import json

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from oltr_cli.base.display import Display
from oltr_cli.commands.figure import figure
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures import attention, catalogue, concepts, images, patches
from oltr_cli.figures.networks import Opened, pick_images, places
from oltr_cli.figures.request import Request
from oltr_cli.networks.layers import Attention
from oltr_cli.pipeline.make import run_method
from oltr_cli.report.choose import choose
from oltr_cli.report.content import collect
from oltr_cli.runs.folder import find_runs
from oltr_cli.runs.scores import SavedScores

# --- 4


@pytest.mark.parametrize("kind", ["modulated", "spatial"])
def test_attention_maps_are_what_a_loop_says(kind):
    torch.manual_seed(0)
    layer = Attention(kind, 6, (2, 3)).double()
    if layer.self_attention is not None:
        nn.init.normal_(layer.self_attention.out.weight)  # it starts as zero
    f = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    added = (layer(f) - f).detach()
    for (strength, modulation, product), one, more in zip(attention.attention_maps(layer, f), f, added, strict=True):
        assert modulation.sum() == pytest.approx(1)
        for y, x in np.ndindex(2, 3):
            length = float(more[:, y, x].square().sum().sqrt())
            assert product[y, x] == pytest.approx(length)
            assert strength[y, x] == pytest.approx(length / modulation[y, x])
            if kind == "spatial":
                assert strength[y, x] == pytest.approx(float(one[:, y, x].norm()))


def scores(prediction, labels, confidence):
    return SavedScores(np.array(prediction), np.array(confidence, np.float32), np.array(labels))


def test_the_surest_right_head_and_tail_are_shown():
    counts = [200, 200, 50, 5]
    test = scores([0, 1, 1, 3, 3, 2], [0, 1, 0, 3, 3, 2], [0.5, 0.6, 0.9, 0.2, 0.3, 0.99])
    assert attention.head_and_tail(test, counts, "paper") == [1, 4]
    assert attention.head_and_tail(scores([0, 0], [0, 2], [0.5, 0.6]), counts, "paper") == [0]  # no tail, one class
    assert attention.head_and_tail(scores([2, 0], [2, 0], [0.5, 0.6]), counts, "paper") == [1, 0]  # medium for few
    assert attention.head_and_tail(scores([1], [0], [0.5]), counts, "paper") == []


def test_maps_are_shaded_by_their_mean():
    cells = np.array([[1.0, 2.0], [4.0, 1.0]])
    np.testing.assert_allclose(images.octaves(cells), [[-1, 0], [1, -1]])
    assert (images.octaves(np.full((2, 2), 0.3)) == 0).all()
    assert (images.octaves(np.zeros((2, 2))) == 0).all()
    large = images.enlarge(cells, 8)
    assert large.shape == (8, 8)
    assert large[0, 0] == pytest.approx(1.0)
    assert large[7, 0] == pytest.approx(4.0)


def test_names_are_printed_as_they_are():
    assert images.plain_text("a$x$\n b") == r"a\$x\$ b"
    assert images.plain_text("Larus argentatus, juvenile", 17) == "Larus ar…juvenile"
    assert images.wrapped("a$", 100, 8) == r"a\$"
    assert images.wrapped("", 100, 8, 1, "dme: ") == "dme:"


def test_long_names_are_wrapped_and_then_shortened_in_the_middle():
    name = "Ailuropoda melanoleuca qinlingensis (brown panda)"
    assert images.wrapped(name, 125, 8) == "Ailuropoda melanoleuca\nqinlingensis (brown panda)"
    cut = images.wrapped(name, 60, 8, 2, "plain: ", " ✓")
    assert len(cut.split("\n")) == 2
    assert cut.startswith("plain:\nAil")
    assert cut.endswith("anda) ✓")
    assert "…" in cut


def test_figure_7_shows_long_names_beside_no_other_text():
    image = np.zeros((8, 8, 3), np.uint8)
    names = [f"Ailuropoda melanoleuca {kind} (brown panda)" for kind in ("alba", "rubra", "nigra")]
    samples = tuple(
        concepts.Sample("x.png", n, 30, "few", m, n, image, ()) for n, m in zip(names, names[::-1], strict=True)
    )
    drawn = concepts.draw(concepts.Data(samples, "plain", "dme"))
    drawn.draw_without_rendering()
    boxes = []
    for sample, axes in zip(samples, drawn.axes[:: 1 + concepts.NEURONS], strict=True):
        assert "".join(axes.get_title().split("\n")[:2]).replace(" ", "") == sample.class_name.replace(" ", "")
        boxes += [axes.title.get_window_extent(), axes.xaxis.label.get_window_extent()]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert not any(box.overlaps(other) for other in boxes[:i])


# --- 7


def test_the_strongest_neurons_are_those_that_are_raised():
    assert concepts.strongest_neurons(np.array([0.1, 3.0, -9.0, 2.0, 2.0])).tolist() == [1, 3, 4]
    assert concepts.strongest_neurons(np.array([-0.1, 0.0, 0.2])).tolist() == [2]
    assert concepts.strongest_neurons(np.array([-0.1, 0.0])).tolist() == []


def test_neuron_maps_average_to_the_feature():
    torch.manual_seed(0)
    with torch.inference_mode():  # as a run's maps are made
        f = torch.randn(3, 5, 2, 4)
    fc = nn.Linear(5, 7)
    neurons = np.array([6, 0, 3])
    maps = patches.neuron_maps(f, neurons, fc)
    with torch.no_grad():
        pooled = fc(f.mean((2, 3)))
    torch.testing.assert_close(maps.mean((2, 3)), pooled[:, neurons])
    torch.testing.assert_close(patches.neuron_maps(f, np.array([4, 1]), None), f[:, [4, 1]])
    value, cell = patches.strongest(maps)
    for b, n in np.ndindex(3, 3):
        y, x = divmod(int(cell[b, n]), 4)
        assert value[b, n] == maps[b, n].max() == maps[b, n, y, x]


@pytest.mark.parametrize(("shape", "side"), [((7, 7), 224), ((2, 2), 48), ((1, 1), 16), ((3, 3), 32)])
def test_patches_surround_their_cell_inside_the_image(shape, side):
    for cell in range(shape[0] * shape[1]):
        left, top, right, bottom = patches.patch_box(cell, shape, side)
        y, x = divmod(cell, shape[1])
        assert 0 <= left < right <= side
        assert 0 <= top < bottom <= side
        assert right - left == bottom - top == min(side, round(1.5 * side / shape[0]))
        assert left <= (x + 0.5) * side / shape[1] <= right
        assert top <= (y + 0.5) * side / shape[0] <= bottom
    middle = patches.patch_box(24, (7, 7), 224)
    assert middle == (88, 88, 136, 136)


def test_examples_are_gains_of_the_tail_and_one_loss():
    counts = [200, 200, 50, 5, 5]
    labels = [3, 3, 4, 2, 0, 1, 3]
    plain = scores([0, 0, 0, 0, 0, 1, 3], labels, [0.5] * 7)
    own = scores([3, 3, 4, 2, 1, 1, 0], labels, [0.2, 0.9, 0.5, 0.1, 0.9, 0.9, 0.9])
    assert concepts.examples(plain, own, counts, "paper") == [1, 3, 2, 4]
    assert concepts.examples(own, own, counts, "paper") == []


def test_the_heading_of_a_framed_image_is_clear_of_its_frame():
    image = np.zeros((8, 8, 3), np.uint8)
    samples = tuple(concepts.Sample("x.png", "a", 30, "medium", "a", own, image, ()) for own in ("a", "b"))
    drawn = concepts.draw(concepts.Data(samples, "plain", "dme"))
    drawn.canvas.draw()
    framed = drawn.axes[1 + concepts.NEURONS]
    assert framed.spines["top"].get_visible()
    above = framed.title.get_window_extent().y0 - framed.get_window_extent().y1
    points = above * 72 / drawn.dpi
    assert points - framed.spines["top"].get_linewidth() / 2 >= 2.5


def test_patches_of_any_size_are_laid_side_by_side():
    sheet = images.tiled([np.full((s, s, 3), v, np.uint8) for s, v in ((8, 10), (200, 20), (96, 30))], 2, 96, 4)
    assert sheet.shape == (196, 196, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((5, 5), (5, 150), (150, 5), (150, 150))] == [10, 20, 30, 255]


# --- a real run


class Names:
    names = ("a/cat 1.png", "a/cat 11.png", "b/$d.png")


def test_images_are_picked_by_name_or_part():
    assert pick_images(["a/cat 1.png", "$d"], Names) == [0, 2]
    assert pick_images([], Names) == []
    with pytest.raises(UsageProblem, match=r"'cat' matches 2 test images: a/cat 1\.png, a/cat 11\.png"):
        pick_images(["cat"], Names)
    with pytest.raises(UsageProblem, match=r"no test image 'a/cut 1\.png'; did you mean 'a/cat 1\.png'"):
        pick_images(["a/cut 1.png"], Names)
    with pytest.raises(UsageProblem, match=r"no test image 'xyz'; names look like a/cat 1\.png$"):
        pick_images(["xyz"], Names)


@pytest.fixture(scope="module")
def finer_recipe(tmp_path_factory, tiny_recipe):
    """The tiny recipe with a feature map of 2 × 2 cells instead of one."""
    path = tmp_path_factory.mktemp("recipes") / "finer.toml"
    path.write_text(tiny_recipe.read_text().replace("small-stride2", "small"))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_data, finer_recipe):
    """A finished run of dme, and of plain under it, on the tiny dataset; the environment points to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLTR_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("OLTR_DATA", str(tiny_data))
        patch.setenv("OLTR_TRACKING", "off")
        run_method("dme", str(finer_recipe), workers=0, display=Display(quiet=True), device="cpu")
        yield find_runs(method="dme")[0]


@torch.no_grad()
def test_what_is_shown_of_the_network_is_what_it_computes(trained):
    opened = Opened.load(trained, Request("tiny", None, "", display=Display(quiet=True), device="cpu"))
    test = SavedScores.load(trained.scores("test"))
    split = opened.dataset.splits["test"]
    where = places(test, split, "scores")
    np.testing.assert_array_equal(where, np.arange(len(split)))
    crops = [opened.crop("test", i) for i in range(6)]
    network = opened.recogniser.network
    f = opened.feature_maps(crops)
    v = network.backbone.pool(opened.attention(f))
    np.testing.assert_allclose(v.detach().numpy(), test.features[:6], atol=1e-5)
    # e ⊙ v_memory from its own words, in float64
    head, centroids = network.head.double(), network.centroid_loss.centroids.detach().double()
    o = (v.double() @ head.hallucinator.weight.T + head.hallucinator.bias).softmax(1)
    expected = torch.tanh(v.double() @ head.selector.weight.T + head.selector.bias) * (o @ centroids)
    head.float()
    np.testing.assert_allclose(concepts.infusions(opened, f), expected.detach().numpy(), atol=1e-5)
    meta = network.embedding(v)
    gamma = (v.unsqueeze(1) - network.centroid_loss.centroids).norm(dim=2).amin(1, keepdim=True)
    torch.testing.assert_close(meta * gamma / 10, (v + expected.float()), atol=1e-4, rtol=1e-4)
    by_split = [
        (int(i), m)
        for batch, maps in opened.attended_maps("test", lambda n: None)
        for i, m in zip(batch, maps, strict=True)
    ]
    assert [i for i, _ in by_split] == list(range(len(split)))
    pooled = torch.stack([m.mean((1, 2)) for _, m in by_split])
    np.testing.assert_allclose(pooled.numpy(), test.features, atol=1e-5)


def test_scores_of_other_images_are_noticed(trained):
    opened = Opened.load(trained, Request("tiny", None, "", display=Display(quiet=True), device="cpu"))
    test = SavedScores.load(trained.scores("test"))
    test.paths[3] = "gone.png"
    with pytest.raises(DataProblem, match=r"the dataset has no 'gone\.png'"):
        places(test, opened.dataset.splits["test"], "scores")


def command(*arguments: str):
    app = typer.Typer()
    app.command()(figure)
    return CliRunner().invoke(app, list(arguments))


def table(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(io.StringIO("\n".join(lines))))


def test_they_are_drawn(trained, finer_recipe, tmp_path):
    name = "test/c1/2.png"
    done = command(
        "4",
        "7",
        "3",
        "--recipe",
        str(finer_recipe),
        "--out",
        str(tmp_path),
        "--image",
        name,
        "--json",
        "--device",
        "cpu",
    )
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert [one["figure"] for one in json.loads(done.stdout)["figures"]] == ["4", "7", "3"]
    cells = table(tmp_path / "figure-4.csv")
    assert {row["image"] for row in cells} == {name}
    assert {row["class"] for row in cells} == {"thing 1"}
    assert sum(float(row["modulation"]) for row in cells) == pytest.approx(1)
    points = table(tmp_path / "figure-3.csv")
    assert {(row["method"], row["kind"]) for row in points} == {
        (m, k) for m in ("plain", "dme") for k in ("tail", "open")
    }
    found = table(tmp_path / "figure-7.csv")
    for neuron in {row["neuron"] for row in found}:
        own = [float(row["activation"]) for row in found if row["neuron"] == neuron]
        assert own == sorted(own, reverse=True)
        assert all(row["patch_image"].startswith("train/") for row in found)


def test_they_are_drawn_in_float64(trained, finer_recipe, tmp_path, monkeypatch, float64):
    monkeypatch.setenv("OLTR_PRECISION", "float64")
    arguments = ("--recipe", str(finer_recipe), "--out", str(tmp_path), "--device", "cpu", "--image", "test/c1/2.png")
    done = command("4", "7", "3", *arguments)
    assert done.exit_code == 0, f"{done.output} {done.exception}"


def test_one_cell_is_no_map_of_attention(tmp_path, monkeypatch, tiny_data, tiny_recipe):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tiny_data))
    monkeypatch.setenv("OLTR_TRACKING", "off")
    run_method("dme", str(tiny_recipe), workers=0, display=Display(quiet=True), device="cpu")
    arguments = ("--recipe", str(tiny_recipe), "--out", str(tmp_path), "--device", "cpu", "--image", "test/c1/2.png")
    done = command("4", *arguments)
    assert isinstance(done.exception, UsageProblem)
    assert "1 × 1 cells for 16 × 16 pixels" in str(done.exception)
    assert "--set data.image_size=32 --set data.eval_resize=32" in str(done.exception)
    assert "for 2 × 2 cells" in str(done.exception)
    monkeypatch.setattr(catalogue, "FIGURES", {k: v for k, v in catalogue.FIGURES.items() if k in ("4", "7")})
    everything = command("all", *arguments)
    assert everything.exit_code == 0, everything.output
    assert "1 × 1 cells, so a patch is a whole image" in everything.stdout
    assert "figure 4" in everything.stderr
    assert not (tmp_path / "figure-4.png").exists()
    (picture,) = collect(choose("tiny"), [], Display(quiet=True), figure_names=["4"]).figures
    assert picture.uri == ""
    assert "over one cell there is no attention to show" in picture.note


def test_they_choose_images_themselves(trained, finer_recipe, tmp_path):
    done = command("4", "--recipe", str(finer_recipe), "--out", str(tmp_path), "--device", "cpu")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    rows = table(tmp_path / "figure-4.csv")
    assert all(row["class"] == row["predicted"] for row in rows)


def test_a_method_without_attention_or_memory_is_told_so(trained, finer_recipe, tmp_path):
    for arguments, message in ((("4", "-m", "plain"), "has no attention"), (("7", "-m", "dme,plain"), "no memory")):
        done = command(*arguments, "--recipe", str(finer_recipe), "--out", str(tmp_path), "--image", "test/c1/2.png")
        assert isinstance(done.exception, UsageProblem)
        assert message in str(done.exception)


def test_the_strongest_patches_are_found(trained, finer_recipe, tmp_path):
    """Every training image's largest cell, looked at one by one."""
    request = Request(
        "tiny", str(finer_recipe), "", images=("test/c0/1.png",), display=Display(quiet=True), device="cpu"
    )
    data = concepts.gather(request).data
    opened = Opened.load(trained, request)
    split = opened.dataset.splits["train"]
    network = opened.recogniser.network
    for neuron in data.samples[0].neurons:
        best = []
        for i in range(len(split)):
            with torch.no_grad():
                f = opened.attention(opened.feature_maps([opened.crop("train", i)]))[0, neuron.number]
            best.append((float(f.max()), split.names[i], patches.patch_box(int(f.argmax()), tuple(f.shape), 16)))
        best.sort(key=lambda entry: -entry[0])
        assert len(neuron.patches) == patches.PATCHES
        for patch, (value, image, box) in zip(neuron.patches, best, strict=False):
            assert patch.activation == pytest.approx(value, abs=1e-5)
            if min(abs(value - other) for other, name, _ in best if name != image) > 1e-4:
                assert (patch.image, patch.box) == (image, box)
    assert network.backbone.extra_fc is None


def test_a_report_holds_them_unless_that_takes_long(trained, monkeypatch):
    def drawn(names=None):
        made = collect(choose("tiny"), [], Display(quiet=True), figure_names=names)
        return {picture.name: picture for picture in made.figures}

    short = drawn()
    assert short["4"].uri.startswith("data:image/")
    assert short["7"].uri.startswith("data:image/") or "no image" in short["7"].note
    monkeypatch.setattr("oltr_cli.report.pictures.PIXELS", 0)
    long = drawn()
    assert "--figures" in long["7"].note
    assert (long["7"].command, long["7"].uri) == ("oltr figure 7 --recipe FILE", "")
    again = drawn(["7"])
    assert list(again) == ["7"]
    assert (again["7"].note, again["7"].uri[:11]) == (short["7"].note, "data:image/")
