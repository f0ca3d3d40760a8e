"""What a dry run says of a graph of runs, against runs of the tiny dataset that are then made."""

import json
from pathlib import Path

import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem
from oltr_cli.pipeline.estimates import costs, known_dataset
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.rates import measured_rates, probed_rates, stated_rate
from oltr_cli.planning.plan import plan
from oltr_cli.tables.make import rows_graph
from oltr_cli.tables.rows import RowSpec
from tests.helpers.finished_runs import tiny_home
from tests.helpers.in_process import oltr_here

QUIET = Display(quiet=True)
home = pytest.fixture(tiny_home)


def planned(home, method="plain", sets=(), seed=0):
    return plan(method, str(home / "tiny.toml"), list(sets), seed)


def made(runs):
    return make_runs(runs, device="cpu", workers=0, track=False, display=QUIET)


def cost(home, runs, rate=lambda p, e: None):
    return costs(runs, known_dataset(runs[-1].link.recipe.data), rate, home / "runs")


def on_disk(path, *patterns):
    return sum(file.stat().st_size for pattern in patterns for file in path.glob(pattern) if file.is_file())


ADAMW = ["train.optimizer=adamw", "train.lr.features=0.001", "train.lr.classifier=0.001", "train.ema=0.9"]
FROZEN = ["train.freeze_backbone=true"]


@pytest.mark.parametrize(
    ("method", "sets"),
    [
        ("dme", []),
        ("plain", ADAMW),
        ("crt", []),
        ("ncm", []),
        ("dme", FROZEN),
        ("focal", [*FROZEN, "train.frozen_precision=float16"]),
        ("plain+energy", []),
        ("plain+openmax", []),
    ],
)
def test_the_disk_is_what_the_runs_take(home, method, sets):
    runs = planned(home, method, sets)
    estimates = cost(home, runs).estimates
    made(runs)
    for p, estimate in zip(runs, estimates, strict=True):
        disk, path = estimate.disk, p.run.path
        parent = p.parent.path if p.parent else path
        found = {
            "checkpoints": on_disk(path, "*.pt"),
            "scores": on_disk(path, "scores/*.npz") - on_disk(path, "scores/train.npz"),
            "training scores": on_disk(parent, "scores/train.npz") if "training scores" in disk else 0,
            "frozen features": on_disk(parent, "frozen/*/features.npy") if "frozen features" in disk else 0,
        }
        assert {kind for kind, size in found.items() if size} == set(disk) - {"plots"}, p.run.name
        for kind in set(disk) - {"plots"}:
            assert disk[kind] == pytest.approx(found[kind], rel=0.1), (p.run.name, kind)
    assert all(e.more == 0 and e.steps == 0 for e in cost(home, runs).estimates)


def test_steps_and_images_of_a_chain(home):
    plain, dme = cost(home, planned(home, "dme")).estimates
    assert (plain.steps, plain.images) == (15, 120)
    assert (dme.steps, dme.images) == (10, 80)
    # 15 validation images after each epoch, then 15 + 20 + 10 + 4.
    assert plain.scored == 3 * 15 + 49
    # dme looks at the 45 training images before the first step, and after each epoch.
    assert dme.scored == 2 * 15 + 49 + 45 + 2 * 45


def test_from_scratch_is_one_run_with_the_epochs_of_stage_1(home):
    (one,) = cost(home, planned(home, "focal", ["train.from_scratch=true"])).estimates
    assert one.steps == 15


def test_what_runs_share_is_counted_once(home):
    rows = [RowSpec(m, m, m, m, (), "") for m in ("plain", "crt", "ncm", "dme", "plain+openmax")]
    graph = rows_graph(rows, [0, 1], str(home / "tiny.toml"), "")
    runs = [node.planned for node in graph.nodes.values()]
    assert sorted(p.run.method for p in runs) == sorted([row.method for row in rows] * 2)
    training = [e.run.method for e in cost(home, runs).estimates if e.disk.get("training scores")]
    assert training == ["crt", "crt"]  # of each seed's plain, for ncm and openmax too
    made(planned(home, "crt"))
    again = [e.run for e in cost(home, runs).estimates if e.disk.get("training scores")]
    assert [(run.method, run.seed) for run in again] == [("crt", 1)]


def test_frozen_features_are_counted_once_and_not_if_they_are_there(home):
    both = [*planned(home, "crt"), planned(home, "focal", FROZEN)[-1], planned(home, "range", FROZEN)[-1]]
    kept = {e.run.method: e.disk.get("frozen features", 0) for e in cost(home, both).estimates}
    assert kept["focal"] > 0
    assert kept["range"] == 0
    made(planned(home, "focal", FROZEN))
    (_, later) = cost(home, planned(home, "range", FROZEN)).estimates
    assert "frozen features" not in later.disk


def test_of_an_interrupted_run_the_rest_is_left(home):
    (p,) = planned(home)
    made([p])
    (p.run.path / "result.json").unlink()
    last = torch.load(p.run.path / "last.pt", weights_only=True)
    last["progress"] |= {"epoch": 1, "step": 2}
    torch.save(last, p.run.path / "last.pt")
    (left,) = cost(home, [p]).estimates
    assert (left.status, left.steps, left.images) == ("interrupted", 8, 64)
    assert left.scored == 2 * 15 + 49
    assert left.more < 0.6e6 < sum(left.disk.values())  # the checkpoints are replaced
    (p.run.path / "last.pt").write_bytes(b"damaged")  # the one before it, after epoch 2, is used
    assert cost(home, [p]).estimates[0].steps == 5


def test_a_stated_rate_is_divided_by(home):
    plain, dme = cost(home, planned(home, "dme"), stated_rate(10)).seconds
    assert plain == pytest.approx(120 / 10 + 94 / 30)
    assert dme == pytest.approx(80 / 10 + 214 / 30)
    (*_, head) = cost(home, planned(home, "crt"), stated_rate(10)).seconds
    assert head == pytest.approx(45 / 30)  # only the scores of the training set, from its images


def test_finished_runs_give_a_rate(home, monkeypatch):
    rate = measured_rates("cpu")
    assert cost(home, planned(home, "dme"), rate).seconds == [None, None]
    made(planned(home))
    rows = [{"epoch": n, "images_per_second": 40.0, "seconds": 2.0} for n in (1, 2, 3)]
    run = planned(home)[0].run
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = cost(home, planned(home, "dme"), measured_rates("cpu"))
    # An epoch of 5 × 8 images took 1 s, and validating 15 images the other second.
    assert found.seconds == [0, pytest.approx(80 / 40 + 214 / 15)]
    assert found.rates[1].source == f"measured by {run.name}"
    other = planned(home, sets=["data.image_size=8"], seed=3)
    assert cost(home, other, measured_rates("cpu")).seconds == [None]


@pytest.mark.parametrize(("method", "sets"), [("dme", []), ("crt", []), ("dme", FROZEN), ("plain+odin", [])])
def test_a_probe_times_every_kind_of_run_and_keeps_nothing(home, method, sets):
    runs = planned(home, method, sets)
    known = known_dataset(runs[-1].link.recipe.data)
    found = cost(home, runs, probed_rates(known, known.opened.spec, "cpu", 0, QUIET))
    assert all(seconds > 0 for seconds in found.seconds)
    assert not (home / "runs").exists()
    wanted = "random features" if method == "crt" or sets else "images of the dataset"
    assert wanted in found.rates[-1].source


def test_a_dataset_that_is_not_here_has_its_published_size(home):
    run = ("run", "dme", "--dataset", "imagenet-lt", "--set", "data.image_size=32", "--dry-run", "--json")
    code, out, err = oltr_here(*run, "--set", "train.epochs=1", "--set", "train.batch_size=8", "--rate", "100")
    assert code == 0
    assert "imagenet-lt is not here; its published size is used" in err
    said = json.loads(out)
    assert (said["images"], said["classes"]) == (115_846, 1000)
    assert [one["steps_left"] for one in said["runs"]] == [27_150, 14_480]
    (Path(home) / "data" / "imagenet-lt").mkdir()
    assert oltr_here(*run)[0] == 3  # here, and something is wrong with it
    with pytest.raises(DataProblem):
        known_dataset(plan("plain", str(home / "tiny.toml"), ["data.name=nowhere"], 0)[0].link.recipe.data)


def test_random_images_stand_in_for_a_dataset_that_is_not_here(home):
    runs = plan("plain", "cifar10-lt", [], 0)
    with pytest.raises(DataProblem):
        known_dataset(runs[0].link.recipe.data)
    small = ["train.batch_size=4", "data.image_size=32", "data.eval_resize=32", "backbone.width=8"]
    (p,) = plan("plain", "imagenet-lt", small, 0)
    known = known_dataset(p.link.recipe.data)
    found = costs([p], known, probed_rates(known, p.link.recipe.data, "cpu", 0, QUIET), home / "runs")
    assert found.seconds[0] > 0
    assert found.rates[0].source == "measured by 20 steps here, random images"


def test_a_pixel_store_is_counted_until_it_is_there(home):
    runs = planned(home, sets=["data.store_side=18"])
    wanted = 3 * 18 * 18 * (45 + 15 + 20 + 10 + 4)
    assert cost(home, runs).store == wanted
    made(runs)
    assert cost(home, planned(home, sets=["data.store_side=18"], seed=1)).store == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "plain", "--rate", "5"], "only apply to --dry-run"),
        (["run", "plain", "--dry-run", "--rate", "0"], "--rate 0: give the images"),
        (["run", "plain", "--dry-run", "--rate", "nan"], "--rate nan: give the images"),
        (["run", "plain", "--dry-run", "--rate", "5", "--probe"], "give one of them"),
        (["compare", "--table", "3a", "--dry-run"], "add --run"),
        (["figure", "8a", "--dry-run"], "add --run"),
    ],
)
def test_options_without_effect_are_refused(home, arguments, words):
    code, _, err = oltr_here(*arguments)
    assert code == 2
    assert words in " ".join(err.split())


def test_a_dry_run_of_a_table_and_of_a_figure(home):
    recipe = ("--recipe", home / "tiny.toml", "--run", "--dry-run")
    code, out, err = oltr_here("compare", "--table", "3a", "--methods", "plain,crt", *recipe, "--seeds", 2, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [one["run"].split("/")[1] for one in said["runs"]] == ["plain", "plain", "crt", "crt"]
    assert said["total"]["runs_left"] == 4
    assert said["total"]["steps"] == sum(one["steps_left"] for one in said["runs"])
    assert said["total"]["seconds"] is None
    code, out, _ = oltr_here("figure", "5", *recipe, "--rate", 100)
    assert code == 0
    assert "one after another" in out
    assert "100 images/s of training as stated" in out
    assert not (home / "runs").exists()
