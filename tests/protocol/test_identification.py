"""Rank-1 identification against loops over the definition, its lists, and a run from images to the table."""

import csv
import io
import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.machine import make_accelerator
from oltr_cli.data.feed.transforms import DeviceTransform, evaluation_crop
from oltr_cli.data.lists.lists import open_lists
from oltr_cli.errors import DataProblem
from oltr_cli.pipeline import embeddings
from oltr_cli.pipeline.embeddings import SPLITS, embed_split, load_embeddings, save_embeddings
from oltr_cli.planning.registry import load_method
from oltr_cli.protocol import identification as module
from oltr_cli.protocol.identification import identification
from oltr_cli.recipe.data import DataSpec
from tests.helpers.tiny import Oltr, make_tiny_dataset, write_image

RATES = ("full", "many", "few", "one", "zero")


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a)) / math.sqrt(sum(float(y) ** 2 for y in b))


def by_loops(probe, identities, distractors, train, groups):
    """Every rate as its definition says, in Python's float64."""
    outcomes = {name: [] for name in (*RATES, *groups)}
    for i, p in enumerate(probe):
        near = sum(cosine(p, t) > 0.7 for t in train)
        shots = "many" if near >= 5 else "few" if near >= 2 else "one" if near == 1 else "zero"
        closest = max(cosine(p, d) for d in distractors)
        for j, mate in enumerate(probe):
            if j != i and identities[i] == identities[j]:
                right = cosine(p, mate) > closest
                for name in ("full", shots, *(g for g, members in groups.items() if members[i])):
                    outcomes[name].append(right)
    return {f"identification/{name}": sum(o) / len(o) if o else None for name, o in outcomes.items()}


def random_case(seed, probes=40, distractors=25, train=60, dim=4):
    """Embeddings about a few directions, of many lengths, so that every group of pseudo-shots has members."""
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, 9, probes) * 7 + 3
    middles = rng.normal(size=(100, dim))
    probe = middles[identities % 100] + 0.6 * rng.normal(size=(probes, dim))
    others = [rng.normal(size=(n, dim)) * rng.uniform(0.1, 30, (n, 1)) for n in (distractors, train)]
    groups = {"a": rng.random(probes) < 0.4, "b": rng.random(probes) < 0.5, "nobody": np.zeros(probes, bool)}
    return probe, identities, *others, groups


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(seed, monkeypatch):
    case = random_case(seed, train=60 if seed else 8, dim=4 + seed)
    expected = by_loops(*case)
    for probe_block, other_block in ((1024, 16384), (7, 5), (1, 1)):
        monkeypatch.setattr(module, "PROBE_BLOCK", probe_block)
        monkeypatch.setattr(module, "OTHER_BLOCK", other_block)
        found = identification(*case)
        assert found["metrics"] == pytest.approx(expected, abs=1e-12)
    pairs = found["counts"]["pairs"]
    assert pairs["full"] == sum(pairs[name] for name in RATES[1:])
    assert pairs["nobody"] == 0
    assert found["metrics"]["identification/nobody"] is None
    json.dumps(found, allow_nan=False)


def test_all_pseudo_shots_occur_in_the_cases():
    counts = [identification(*random_case(seed, train=60 if seed else 8, dim=4 + seed))["counts"] for seed in range(4)]
    for name in RATES:
        assert any(c["pairs"][name] for c in counts), name


@pytest.mark.parametrize(("near", "group"), [(0, "zero"), (1, "one"), (2, "few"), (4, "few"), (5, "many")])
def test_bounds_of_pseudo_shots(near, group):
    probe = np.array([[1.0, 0.0], [1.0, 0.0]])
    at_bound = [[0.7, math.sqrt(1 - 0.7**2) + 1e-4]] * 3  # just below 0.7: does not count
    train = np.array([[2.0, 0.1]] * near + at_bound)
    found = identification(probe, np.array([5, 5]), np.array([[0.0, 1.0]]), train)
    assert found["metrics"][f"identification/{group}"] == 1.0
    assert [n for n in RATES if found["counts"]["pairs"][n]] == ["full", group]


def test_ties_are_wrong_and_equal_embeddings_identify_nobody():
    rng = np.random.default_rng(0)
    for dim in (3, 64, 512):
        one = rng.normal(size=(1, dim))
        probe, others = np.repeat(one, 30, 0), np.repeat(3 * one, 50, 0)
        found = identification(probe, np.arange(30) // 3, others, others)
        assert found["metrics"]["identification/full"] == 0.0
        assert found["metrics"]["identification/many"] == 0.0


def test_pairs_are_averaged_not_probes():
    # Identity 0: three probes at one place, all six pairs right. Identity 1: two probes behind a distractor.
    probe = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0.1], [0, 1, -0.1]], float)
    found = identification(probe, np.array([0, 0, 0, 1, 1]), np.array([[0, 1.0, 0]]), np.array([[0, 0, 1.0]]))
    assert found["metrics"]["identification/full"] == 6 / 8
    assert found["counts"] == {
        "probes": 5,
        "identities": 2,
        "distractors": 1,
        "pairs": {"full": 8, "many": 0, "few": 0, "one": 0, "zero": 8},
    }


def test_lengths_and_single_images_do_not_matter():
    probe, identities, *rest = random_case(1)
    longer = np.vstack([probe * np.linspace(0.01, 90, len(probe))[:, None], [[1.0] * probe.shape[1]]])
    identities = np.append(identities, 999)  # has no mate: no pair
    groups = {name: np.append(members, True) for name, members in rest.pop().items()}
    found = identification(longer, identities, *rest, groups)
    plain = identification(*random_case(1))
    del plain["metrics"]["identification/nobody"], found["metrics"]["identification/nobody"]
    assert found["metrics"] == pytest.approx(plain["metrics"])


@pytest.mark.parametrize("which", [0, 2, 3])
def test_not_finite_is_refused(which):
    case = list(random_case(0))
    case[which][1, 1] = np.nan
    with pytest.raises(DataProblem, match="not finite"):
        identification(*case)


def test_memory_stays_below_the_matrix_of_all(tmp_path):
    rng = np.random.default_rng(0)
    probe, others = rng.normal(size=(3000, 8)).astype(np.float32), rng.normal(size=(60_000, 8)).astype(np.float16)
    save_embeddings(tmp_path / "o.npy", others)
    mapped = load_embeddings(tmp_path / "o.npy")
    assert isinstance(mapped, np.memmap)
    tracemalloc.start()
    identification(probe, np.arange(3000) // 3, mapped, mapped)
    assert tracemalloc.get_traced_memory()[1] < 8e6  # NumPy's share; torch's is the two blocks
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{", None])
def test_broken_embeddings_are_named(tmp_path, content):
    path = tmp_path / "x.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataProblem, match=r"x\.npy"):
        load_embeddings(path)


def test_pickled_embeddings_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataProblem, match=r"x\.npy"):
        load_embeddings(tmp_path / "x.npy")


# --- lists ---


def add_identities(root):
    """Probes of three identities (4, 3 and 2 images) and six distractors, beside the tiny dataset in ``root``."""
    rng = np.random.default_rng(5)
    lines = {"probe": [], "distractors": [], "attributes": []}
    for identity, count in ((100, 4), (7, 3), (55, 2)):
        for i in range(count):
            name = f"who/{identity}/{i}.png"
            write_image(root / name, identity % 13, rng)
            lines["probe"].append(f"{name} {identity}")
            lines["attributes"].append(f"{name} {'male' if identity == 7 else 'female'}")
    for i in range(6):
        write_image(root / f"others/{i}.png", 20 + i, rng)
        lines["distractors"].append(f"others/{i}.png -1")
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("identities")
    add_identities(make_tiny_dataset(home / "tiny"))
    return home


def opened(root):
    return open_lists("tiny", root, root)


def test_lists_are_read(home):
    splits, names, _ = opened(home / "tiny")
    assert len(names) == 5
    assert splits["probe"].labels.tolist() == [100] * 4 + [7] * 3 + [55] * 2
    assert {name: members.sum() for name, members in splits["probe"].groups.items()} == {"female": 6, "male": 3}
    assert splits["train"].groups == {}
    assert (splits["distractors"].labels == -1).all()


@pytest.fixture
def own(tmp_path):
    return add_identities(make_tiny_dataset(tmp_path / "tiny"))


def test_digest_covers_the_new_lists(own):
    before = opened(own)[2]
    (own / "attributes.txt").write_text("who/7/0.png other\n")
    after = opened(own)[2]
    for name in ("probe", "distractors", "attributes"):
        (own / f"{name}.txt").unlink()
    assert len({before, after, opened(own)[2]}) == 3


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("probe", None, r"distractors\.txt: identification needs probe\.txt"),
        ("distractors", None, r"probe\.txt: identification needs distractors\.txt"),
        ("probe", "who/7/0.png -1\nwho/7/1.png 3\n", r"probe\.txt: identity -1"),
        ("probe", "who/7/0.png 1\nwho/7/1.png 3\n", "no identity has two images"),
        ("distractors", "others/0.png 4\n", r"distractors\.txt: identity 4"),
        ("distractors", "others/0.png -1\nwho/7/0.png -1\n", r"who/7/0\.png is also in distractors\.txt"),
        ("probe", "train/c0/0.png 1\ntrain/c0/1.png 1\n", r"train/c0/0\.png is also in train\.txt"),
        ("probe", "who/7/0.png 1\nwho/7/9.png 1\n", r"who/7/9\.png"),
        ("attributes", "who/8/0.png male\n", r"attributes\.txt:1: 'who/8/0\.png' is not in the list of probes"),
        ("attributes", "\nmale\n", r"attributes\.txt:2"),
        ("attributes", "who/7/0.png few\n", "invalid group name 'few'"),
        ("attributes", "who/7/0.png a/b\n", "invalid group name 'a/b'"),
        ("attributes", b"who/7/0.png \xff\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(own, file, text, words):
    path = own / f"{file}.txt"
    if file == "probe":  # whose groups would be wrong as well
        (own / "attributes.txt").unlink()
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataProblem, match=words) as caught:
        opened(own)
    assert "\n" not in str(caught.value)


def test_an_image_may_belong_to_several_groups(own):
    (own / "attributes.txt").write_text("who/7/0.png old\nwho/7/0.png male\n\nwho/7/1.png male\n")
    groups = opened(own)[0]["probe"].groups
    assert {name: np.flatnonzero(members).tolist() for name, members in groups.items()} == {"male": [4, 5], "old": [4]}


# --- a run ---


@pytest.fixture(scope="module")
def done(home, tmp_path_factory, tiny_recipe):
    """dme and plain of one epoch each, and openmax on it."""
    oltr = Oltr(tmp_path_factory.mktemp("id") / "runs", home)
    fast = ("--recipe", tiny_recipe, "-q", "--json", "--set", "train.epochs=1", "--set", "plain.train.epochs=1")
    return oltr, json.loads(oltr("run", "dme", *fast, "--detector", "openmax").stdout)


def results(oltr):
    found = {path.parts[-3]: (path.parent, json.loads(path.read_text())) for path in oltr.runs.rglob("result.json")}
    assert set(found) == {"plain", "dme", "dme+openmax"}
    return found


def test_a_run_says_how_it_identifies(done):
    oltr, _ = done
    for method, (folder, result) in results(oltr).items():
        if method == "dme+openmax":
            assert not any(name.startswith("identification") for name in result["metrics"])
            continue
        probe, distractors, train = (load_embeddings(folder / f"embeddings/{s}.npy") for s in SPLITS)
        assert (len(probe), len(distractors), len(train)) == (9, 6, 45)
        identities = np.array([100] * 4 + [7] * 3 + [55] * 2)
        groups = {"male": identities == 7, "female": identities != 7}
        expected = by_loops(probe, identities, distractors, train, groups)
        found = {name: value for name, value in result["metrics"].items() if name.startswith("identification/")}
        assert found == pytest.approx(expected)
        assert result["identification"]["pairs"]["full"] == 4 * 3 + 3 * 2 + 2
        assert not (folder / "scores" / "probe.npz").exists()


def test_dme_is_told_by_its_meta_embedding():
    method = build_method("dme")
    images = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        scores = method.eval()(images)
        expected = method.head.embed(method.direct(images), method.centroid_loss.centroids)
    torch.testing.assert_close(scores.embedding, expected)
    assert not torch.allclose(scores.features, expected)
    assert build_method("plain").eval()(images).embedding is None


@pytest.mark.parametrize("large", [False, True])
def test_embeddings_have_length_one_and_shrink_when_large(home, large, monkeypatch):
    method, spec = build_method("dme"), DataSpec(name="tiny", image_size=16, eval_resize=16)
    monkeypatch.setattr("oltr_cli.training.scoring.BATCH", 4)
    monkeypatch.setattr(embeddings, "LARGE_LOGITS", 9 * 64 if large else 9 * 64 + 1)
    split = opened(home / "tiny")[0]["probe"]
    rows = embed_split(method, split, spec, make_accelerator("cpu"), 0)
    assert rows.dtype == (np.float16 if large else np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1, atol=1e-3 if large else 1e-6)
    whole = DeviceTransform(spec, torch.device("cpu")).evaluate(
        torch.stack([evaluation_crop(split.image(i), spec) for i in range(len(split))])
    )
    with torch.no_grad():
        expected = F.normalize(method(whole).embedding, dim=1)
    np.testing.assert_allclose(rows, expected, atol=1e-3 if large else 1e-5)


def build_method(name):
    from oltr_cli.method import Setup
    from oltr_cli.recipe.specs import BackboneSpec

    cls = load_method(name)
    torch.manual_seed(0)
    return cls(Setup(BackboneSpec(name="resnet10", stem="small-stride2", width=8), 16, (5, 4, 3), cls.Params()))


def test_evaluate_shows_it(done):
    oltr, _ = done
    folder, result = results(oltr)["dme"]
    shown = oltr("evaluate", folder, "--threshold", "id_quantile:0.95").stdout
    for words in ("identification", "many ≥ 5", "female", "9 probes · 3 identities · 6 distractors"):
        assert words in shown
    again = json.loads(oltr("evaluate", folder, "--threshold", "id_quantile:0.95", "--json").stdout)
    for name, value in result["metrics"].items():
        if name.startswith("identification/"):
            assert again["metrics"][name] == value
    assert again["identification"] == result["identification"]
    pair = results(oltr)["dme+openmax"][0]
    assert "identification" not in oltr("evaluate", pair).stdout


def test_compare_lays_it_beside_the_papers(done, tiny_recipe):
    oltr, _ = done
    _, result = results(oltr)["dme"]
    asked = ["compare", "--table", "4a", "--recipe", str(tiny_recipe), "--format", "csv"]
    shown = CliRunner().invoke(app, asked, env=oltr.env)
    assert shown.exit_code == 0, shown.output
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(shown.stdout))}
    assert rows["dme"]["paper_identification/full"] == "74.51"
    for name in (*RATES, "male", "female"):
        rate = result["metrics"][f"identification/{name}"]
        assert rows["dme"][f"measured_identification/{name}"] == ("" if rate is None else str(100 * rate))
    assert rows["dme+openmax"]["measured_identification/full"] == ""
