"""The figures that saved scores are enough for: their numbers, recomputed one by one, and what is drawn and written."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from oltr_cli.data.glyphs.splits import GlyphsSpec
from oltr_cli.data.longtail import pareto_counts
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures import ablation, gains, open_classes, tails, threshold, tsne
from oltr_cli.figures.curves import Curve, looks, panel
from oltr_cli.figures.request import Gathered, Request
from oltr_cli.figures.save import as_csv, read_formats, save
from oltr_cli.figures.scores import open_classes as classes_of
from oltr_cli.figures.scores import shown
from oltr_cli.protocol.best_threshold import FMeasureCurve
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.fill import fill
from tests.helpers.fake_runs import CLASS_COUNTS, make_run, random_scores

K = len(CLASS_COUNTS)


@pytest.fixture
def known():
    return random_scores(np.random.default_rng(1), 230, False, 2.0)


@pytest.fixture
def open_():
    return random_scores(np.random.default_rng(2), 90, True, 2.0)


def decide(scores, tau):
    """Class, or −1 where rejected, sample by sample."""
    return [
        int(p) if np.float32(c) >= np.float32(tau) else -1
        for p, c in zip(scores.prediction, scores.confidence, strict=True)
    ]


def naive_f(known, open_, tau):
    tp = sum(d == y for d, y in zip(decide(known, tau), known.labels.tolist(), strict=True))
    fp = len(known) - tp
    fn = sum(d != -1 for d in decide(open_, tau))
    return 0.0 if tp == 0 else 2 * tp / (2 * tp + fp + fn)


def part(scores, mask):
    return SavedScores(scores.prediction[mask], scores.confidence[mask], scores.labels[mask])


# --- 6


def naive_group_f1(known, open_, counts, tau):
    labels = known.labels.tolist() + [-1] * len(open_)
    decided = decide(known, tau) + decide(open_, tau)
    f1 = {}
    for k in [*range(len(counts)), -1]:
        tp = sum(y == k and d == k for y, d in zip(labels, decided, strict=True))
        fp = sum(y != k and d == k for y, d in zip(labels, decided, strict=True))
        fn = sum(y == k and d != k for y, d in zip(labels, decided, strict=True))
        if tp + fp + fn:
            f1[k] = 2 * tp / (2 * tp + fp + fn)
    groups = {"many": [], "medium": [], "few": [], "open": []}
    for k, value in f1.items():
        n = counts[k]
        groups["open" if k == -1 else "many" if n > 100 else "few" if n < 20 else "medium"].append(value)
    return [np.mean(values) if values else np.nan for values in groups.values()]


@pytest.mark.parametrize("tau", [0.0, 0.37, 0.5, 0.999])
def test_f1_of_groups_is_what_a_loop_says(known, open_, tau):
    got = gains.group_f1(known, open_, CLASS_COUNTS, tau)
    np.testing.assert_allclose(got, naive_group_f1(known, open_, CLASS_COUNTS, tau), atol=1e-12)
    means = all_metrics(known, open_, CLASS_COUNTS, tau)
    weights = [3, 3, 4, 1]  # classes of each group
    assert np.average(got, weights=weights) == pytest.approx(means["open/macro_f1"])


def test_f1_of_an_empty_group_is_none_of_the_numbers(known, open_, tmp_path):
    few_only = [5] * K
    got = gains.group_f1(known, open_, few_only, 0.4)
    assert np.isnan(got[:2]).all()
    assert np.isfinite(got[2:]).all()
    data = gains.Data("plain", (gains.Gain("dme", got[None], got[None] + 0.1),), "paper")
    columns, rows = data.table()
    assert [row[columns.index("gain")] for row in rows] == [None, None, pytest.approx(0.1), pytest.approx(0.1)]
    axes = gains.draw(data).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no class", "no class", "+0.100", "+0.100"]
    left, right = axes.get_xlim()
    assert all(left + 0.3 < text.xy[0] < right - 0.3 for text in axes.texts)  # inside, clear of the labels
    two = gains.Data("plain", (*data.gains, gains.Gain("lifted", got[None], got[None] - 0.1)), "paper")
    assert [text.get_text() for text in gains.draw(two).axes[0].texts].count("no class") == 2  # not for each method


def test_gains_are_paired_by_seed():
    base, own = np.array([[0.1] * 4, [0.5] * 4]), np.array([[0.2] * 4, [0.6] * 4])
    gain = gains.Gain("dme", base, own)
    np.testing.assert_allclose(gain.mean, 0.1)
    np.testing.assert_allclose(gain.std, 0.0, atol=1e-12)  # the seeds differ, their gains do not


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (0.0, "0.000"),
        (-1e-17, "0.000"),
        (0.04, "+0.040"),
        (-0.0003, "−0.0003"),
        (0.00002, "+0.00002"),
        (-0.12, "−0.120"),
    ],
)
def test_the_sign_of_a_gain_is_that_of_its_bar(gain, text):
    data = gains.Data("plain", (gains.Gain("dme", np.full((1, 4), 0.5), np.full((1, 4), 0.5 + gain)),), "paper")
    assert {label.get_text() for label in gains.draw(data).axes[0].texts} == {text}


# --- 8b


def test_f_measure_over_thresholds_is_what_a_loop_says(known, open_):
    grid = threshold.thresholds(0.1, 0.9)
    assert (grid[0], grid[-1], len(grid)) == (0.0, 1.0, 201)
    got = threshold.f_measures(FMeasureCurve(known, open_), grid)
    for i in range(0, 201, 7):
        assert got[i] == pytest.approx(naive_f(known, open_, grid[i]), abs=1e-12)


def test_confidences_that_are_no_probabilities_set_the_range():
    grid = threshold.thresholds(-3.0, 8.0)
    assert (grid[0], grid[-1]) == (-3.0, 8.0)


# --- 8c


def test_f_measure_over_open_classes_is_what_a_loop_says(known, open_):
    class_of = np.random.default_rng(3).integers(0, 7, len(open_))
    orders = open_classes.class_orders(7, 0)
    tau = 0.45  # confidences are rounded: some lie exactly there
    assert (known.confidence == np.float32(tau)).any()
    got = open_classes.by_open_classes(known, open_, class_of, orders, tau)
    sizes = open_classes.sizes(7)
    assert sizes.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert got.shape == (open_classes.DRAWS, 8)
    for draw in (0, 11):
        for place, size in enumerate(sizes):
            mask = np.isin(class_of, orders[draw][:size])
            assert got[draw, place] == pytest.approx(naive_f(known, part(open_, mask), tau), abs=1e-12)
    np.testing.assert_allclose(got[:, -1], all_metrics(known, open_, CLASS_COUNTS, tau)["open/f_measure"])
    assert (np.diff(got, axis=1) <= 0).all()  # nested: another open class never helps


def test_orders_are_drawn_by_lot_and_stay():
    first = open_classes.class_orders(9, 0)
    assert (np.sort(first, axis=1) == np.arange(9)).all()
    np.testing.assert_array_equal(first, open_classes.class_orders(9, 0))
    assert (first != open_classes.class_orders(9, 1)).any()
    assert len(np.unique(first, axis=0)) > 1


def test_many_open_classes_are_looked_at_evenly():
    assert open_classes.sizes(35).tolist() == [0, 4, 7, 10, 14, 18, 21, 24, 28, 32, 35]


def named(paths):
    n = len(paths)
    return SavedScores(np.zeros(n, np.int64), np.zeros(n, np.float32), np.full(n, -1), paths=np.array(paths))


def test_open_classes_are_told_by_folder_or_character():
    numbers, names = classes_of(named(["val/b ü/x 1.png", "val/a/x.png", "val/b ü/y.png"]), "f")
    assert (numbers.tolist(), names) == ([1, 0, 1], ["val/a", "val/b ü"])
    glyphs = ["open/U+0533 DejaVuSerif #0", "open/U+0533 DejaVuSans-Bold #1", "open/U+10D3 DejaVuSerif #0"]
    numbers, names = classes_of(named(glyphs), "f")
    assert (numbers.tolist(), names) == ([0, 0, 1], ["open/U+0533", "open/U+10D3"])
    assert [shown(name) for name in (*names, "val/n01", "U+zz")] == ["Գ (Armenian)", "დ (Georgian)", "n01", "U+zz"]


def test_open_classes_that_cannot_be_told_are_said_so():
    with pytest.raises(
        DataProblem, match=r"open\.npz: all open images are in one folder \('val'\).*one class.*two or more.*open_val"
    ):
        classes_of(named(["val/a.png", "val/b.png"]), "open.npz")
    with pytest.raises(DataProblem, match=r"open\.npz: has no sample names"):
        classes_of(random_scores(np.random.default_rng(0), 5, True, 1.0), "open.npz")


# --- 8a


def test_a_heavier_tail_has_as_many_images():
    spec = GlyphsSpec()
    total = pareto_counts(80, floor=5, alpha=6, scale=550, maximum=250).sum()
    made = [tails.make_tail(spec, alpha) for alpha in (1.0, 2.0, 6.0, 20.0)]
    assert all(abs(tail.images - total) <= 0.005 * total for tail in made)
    assert [tail.largest for tail in made] == sorted((tail.largest for tail in made), reverse=True)
    assert [tail.median for tail in made] == sorted(tail.median for tail in made)
    for tail in made:
        counts = pareto_counts(80, floor=5, alpha=tail.alpha, scale=tail.scale, maximum=tails.MAXIMUM)
        assert (tail.images, tail.largest, tail.smallest) == (counts.sum(), counts.max(), counts.min())


def glyph_request(tmp_path, **changes):
    recipe = tmp_path / "g.toml"
    recipe.write_text('[data]\nname = "g"\nkind = "glyphs"\nimage_size = 32\neval_resize = 32\n')
    return Request("g", str(recipe), f"--recipe {recipe}", **changes)


def test_every_alpha_is_a_run_of_its_own(tmp_path):
    request = glyph_request(tmp_path, alphas=(6.0, 1.5, 6.0))
    rows = tails.rows(request)
    assert [row.key for row in rows] == ["plain, α = 1.5", "plain, α = 6", "dme, α = 1.5", "dme, α = 6"]
    assert len({row.hash(request.source) for row in rows}) == 4
    assert "--set data.name=g-alpha-1.5 --set data.glyphs.tail_alpha=1.5" in rows[0].command(request.source, "")


def test_a_list_has_one_alpha(tmp_path):
    recipe = tmp_path / "photos.toml"
    recipe.write_text('[data]\nname = "photos"\n')
    for source in (str(recipe), None):
        with pytest.raises(UsageProblem, match=r"lists of photos have a fixed one.*oltr figure 8a --dataset glyphs-lt"):
            tails.rows(Request("photos", source, ""))
    with pytest.raises(UsageProblem, match="0 is not within"):
        tails.rows(glyph_request(tmp_path, alphas=(0.0,)))


def test_accuracies_over_alpha_are_those_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    request = glyph_request(tmp_path, alphas=(2.0, 6.0))
    with pytest.raises(UsageProblem, match="4 runs that are not finished"):
        tails.gather(request)
    for row in tails.rows(request):
        for seed in (0, 1):
            dataset = f"g-alpha-{row.key[-1]}"
            make_run(tmp_path / "runs", dataset, row.method, seed, row.hash(request.source))
        make_run(tmp_path / "runs", dataset, row.method, 0, "another000")  # not by this recipe
    gathered = tails.gather(request)
    assert len(gathered.runs) == 8
    for curve in gathered.data.curves:
        for place, alpha in enumerate((2, 6)):
            runs = [r for r in gathered.runs if (r.dataset, r.method) == (f"g-alpha-{alpha}", curve.label)]
            values = [100 * run.result().metrics["closed/overall"] for run in runs]
            assert curve.mean[place] == pytest.approx(np.mean(values))
            assert curve.std[place] == pytest.approx(np.std(values, ddof=1))
    assert len(tails.gather(glyph_request(tmp_path, alphas=(2.0, 6.0), seed=1)).runs) == 4
    axes = tails.draw(gathered.data).axes[0]
    assert [t.get_text().split("\n")[0] for t in axes.get_xticklabels()] == ["2", "6"]


# --- 5


def test_bars_are_the_cells_of_table_5(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    request = Request("glyphs-lt", "glyphs-lt", "--dataset glyphs-lt")
    rows = ablation.rows(request)
    hashes = {row.key: row.hash("glyphs-lt") for row in rows}
    assert len(rows) == 7
    assert len(set(hashes.values())) == 6  # "modulated" and "+ calibrator" are dme as it is
    for seed in (0, 1):
        for run_hash in set(hashes.values()):
            make_run(tmp_path, "glyphs-lt", "dme", seed, run_hash, skill=1.0 + int(run_hash, 16) % 3)
    gathered = ablation.gather(request)
    assert len(gathered.runs) == 12
    filled = {row.spec.key: row for row in fill("5", "glyphs-lt", source="glyphs-lt").rows}
    by_label = {(bar.panel[:3], bar.label): bar for bar in gathered.data.bars}
    assert len(by_label) == 8
    for place, key in (
        (("(a)", "without"), "attention-none"),
        (("(b)", "+ memory feature"), "memory-feature"),
        (("(c)", "spatial"), "attention-spatial"),
    ):
        cells = filled[key].cells[:4]
        assert by_label[place].mean == tuple(cell.mean for cell in cells)
        assert by_label[place].std == tuple(cell.std for cell in cells)
    one = ablation.gather(Request("glyphs-lt", "glyphs-lt", "", seed=1)).data.bars[0]
    assert one.mean == tuple(cell.values[1] for cell in filled["attention-none"].cells[:4])
    assert np.isnan(one.std).all()
    figure = ablation.draw(gathered.data)
    heights = [bar.get_height() for axes in figure.axes for bar in axes.patches]
    assert heights == pytest.approx([row[3] for row in gathered.data.table()[1]])


def test_the_ablation_is_of_dme():
    with pytest.raises(UsageProblem, match="leave out --methods"):
        ablation.rows(Request("glyphs-lt", "glyphs-lt", "", methods=("plain",)))


# --- 3


def test_samples_for_tsne_are_of_head_tail_and_open(known):
    paths = [f"o/{i % 8}/{i}.png" for i in range(90)]
    open_ = SavedScores(*(np.zeros(90, t) for t in (np.int64, np.float32)), np.full(90, -1), paths=np.array(paths))
    known = SavedScores(
        known.prediction, known.confidence, known.labels, paths=np.array([f"k/{i}" for i in range(len(known))])
    )
    names = [f"name {k}" for k in range(K)]
    chosen = tsne.choose(known, open_, "f", CLASS_COUNTS, names, Request("d", None, ""))
    kinds = [kind for kind, _ in chosen.classes]
    assert [kinds.count(kind) for kind in ("head", "tail", "open")] == [3, 4, 5]
    for row, number, path in zip(chosen.rows.tolist(), chosen.class_of.tolist(), chosen.paths, strict=True):
        kind, name = chosen.classes[number]
        if kind == "open":
            assert path == paths[row - len(known)]
            assert path.split("/")[1] == name
        else:
            label = int(known.labels[row])
            assert (path, name) == (f"k/{row}", f"name {label}")
            assert (CLASS_COUNTS[label] > 100) if kind == "head" else (CLASS_COUNTS[label] < 20)
    assert len(set(chosen.rows.tolist())) == len(chosen.rows)
    other = tsne.choose(known, open_, "f", CLASS_COUNTS, names, Request("d", None, "", lot=1))
    assert [c for c in other.classes if c[0] == "open"] != [c for c in chosen.classes if c[0] == "open"]


def test_tsne_keeps_clusters_and_repeats_itself():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16)) * 20
    features = np.concatenate([centre + rng.normal(size=(15, 16)) for centre in centres])
    at = tsne.embed(features, 7)
    np.testing.assert_array_equal(at, tsne.embed(features, 7))
    distance = np.linalg.norm(at[:, None] - at[None], axis=2) + np.diag(np.full(45, np.inf))
    assert (distance.argmin(axis=1) // 15 == np.arange(45) // 15).all()
    with pytest.raises(UsageProblem, match="at least 4"):
        tsne.embed(features[:3], 0)


def test_tsne_draws_its_positions_and_takes_names_as_they_are():
    chosen = tsne.Chosen(
        np.arange(4), np.array([0, 0, 1, 2]), (("head", "a$b$ {x}"), ("tail", "$"), ("open", "n1")), ("p",) * 4
    )
    at = np.arange(8.0).reshape(4, 2)
    data = tsne.Data(chosen, {"plain": at, "dme": at + 1})
    figure = tsne.draw(data)
    figure.canvas.draw()  # a formula in a name would fail here
    for axes, shift in zip(figure.axes, (0, 1), strict=True):
        drawn = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
        np.testing.assert_array_equal(drawn, at + shift)
    assert [row[-2:] for row in data.table()[1][:4]] == at.tolist()


# --- curves and files


def test_a_curve_is_mean_and_sample_deviation():
    values = np.array([[1.0, 2.0], [3.0, 2.0]])
    curve = Curve.over("x", np.array([0.0, 1.0]), values)
    assert curve.mean.tolist() == [2.0, 2.0]
    assert curve.std.tolist() == [pytest.approx(np.sqrt(2)), 0.0]
    assert Curve.over("x", np.array([0.0, 1.0]), values[:1]).std.tolist() == [0.0, 0.0]


def test_methods_differ_in_colour_dashes_and_marker():
    chosen = looks(["dme", "plain", "lifted", "range", "focal"])
    assert len(set(chosen)) == 5
    assert len({marker for _, _, marker in chosen}) == 5
    assert len({color for color, _, _ in chosen}) == 5
    assert chosen[0] == looks(["dme"])[0]


@pytest.fixture
def gathered(tmp_path, known, open_):
    run = make_run(tmp_path / "runs", "a set", "dme")
    grid = threshold.thresholds(0, 1)
    values = np.stack([threshold.f_measures(FMeasureCurve(known, open_), grid)] * 2)
    curves = (Curve.over("dme", grid, values), Curve.over("plain", grid, values[:1] / 2))
    return Gathered(threshold.Data(curves), (run,), ("a note\nof two lines",))


def test_the_csv_holds_what_is_drawn(gathered):
    text = as_csv(gathered, ["about", "a note\nof two lines"])
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments == ["# about", "# a note of two lines"]
    rows = list(csv.DictReader(io.StringIO("\n".join(text.splitlines()[2:]))))
    axes = threshold.draw(gathered.data).axes[0]
    for line in axes.lines[:2]:
        own = [row for row in rows if row["method"] == line.get_label()]
        assert [float(row["threshold"]) for row in own] == list(line.get_xdata())
        assert [float(row["f_measure"]) for row in own] == list(line.get_ydata())
    assert {row["std"] for row in rows if row["method"] == "plain"} == {""}


def test_pictures_come_in_three_formats_and_say_their_runs(gathered, tmp_path):
    folder = tmp_path / "out put"
    paths = save(threshold.FIGURE, gathered, "a set", folder, ["png", "svg", "pdf"])
    assert [path.name for path in paths] == ["figure-8b.png", "figure-8b.svg", "figure-8b.pdf", "figure-8b.csv"]
    run = gathered.runs[0].name
    with Image.open(paths[0]) as image:
        assert image.info["Description"].splitlines()[1] == f"runs: {run}"
        assert min(image.size) > 500
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert run in paths[1].read_text()
    assert paths[2].read_bytes().startswith(b"%PDF")
    assert run in paths[3].read_text()
    before = [path.read_bytes() for path in paths]
    save(threshold.FIGURE, gathered, "a set", folder, ["png", "svg", "pdf"])
    assert [path.read_bytes() for path in paths] == before
    assert len(list(folder.iterdir())) == 4


def test_formats():
    assert read_formats([]) == ["png"]
    assert read_formats(["PDF, svg", "pdf"]) == ["pdf", "svg"]
    with pytest.raises(UsageProblem, match="no format 'pgn'; did you mean 'png'"):
        read_formats(["pgn"])


@pytest.mark.parametrize("labels", [["plain", "range", "dme"], ["plain", "plain-equal-budget", "range"], ["x" * 40]])
def test_a_legend_stays_inside_the_picture(labels):
    curves = [Curve.over(label, np.arange(3.0), np.ones((1, 3))) for label in labels]
    figure, _ = panel(curves, "x", "y")
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
