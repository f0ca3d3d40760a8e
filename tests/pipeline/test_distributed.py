"""Several processes share each batch: one run, one result, one voice, and the numbers of one process."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import torch

from oltr_cli.base import machine
from oltr_cli.errors import UsageProblem
from oltr_cli.runs.folder import run_from_path
from tests.helpers.group import run_together, start_group
from tests.helpers.outcomes import wait_for

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed support")


def rows(oltr, method="plain"):
    [file] = oltr.runs.glob(f"*/{method}/*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_documented_line_makes_one_run(oltr, tiny_recipe):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "oltr_cli", "run", "dme", "--recipe", str(tiny_recipe), "--json"]
    done = subprocess.run([*launch, *command], env=oltr.env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "done"
    assert done.stderr.count("starting torch") == 1
    environment = json.loads((oltr.runs / result["run"] / "environment.json").read_text())
    assert environment["processes"] == 2
    again = oltr("run", "dme", "--recipe", tiny_recipe, "--json")  # finished for a single process as well
    assert json.loads(again.stdout) == result


def assert_all_end_like_one(oltr, command, worlds):
    """In float64, where nothing but a fault shows: float32 rounds sums otherwise, and training magnifies that."""
    oltr.env["OLTR_PRECISION"] = "float64"
    alone = json.loads(oltr("run", *command, "--json", "--workers", "0").stdout)
    history = rows(oltr)
    for world in worlds:
        oltr.runs = oltr.runs.parent / f"runs of {world}"
        oltr.env["OLTR_RUNS"] = str(oltr.runs)
        result = run_together(oltr, world, *command)
        for row, wanted in zip(rows(oltr), history, strict=True):
            assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-9)
        assert _or_absent(result["metrics"]) == pytest.approx(_or_absent(alone["metrics"]), rel=1e-6)
    return alone["metrics"]


def _or_absent(metrics):
    """pytest compares no None with a tolerance."""
    return {name: -1.0 if value is None else value for name, value in metrics.items()}


def test_two_and_four_processes_end_like_one(oltr, tiny_recipe):
    """With shares of 3 and 4 images, and all that is done between the gradients and the weights."""
    settings = ("batch_size=7", "accumulate=3", "ema=0.9", "clip_norm=1.0", "mixup=0.2", "cutmix=1.0")
    words = [word for setting in settings for word in ("--set", f"train.{setting}")]
    assert_all_end_like_one(oltr, ["plain", "--recipe", tiny_recipe, *words], (2, 4))


def test_they_do_on_the_built_in_images_with_settings_as_they_are(oltr):
    fewer = ("data.glyphs.tail_max=40", "data.glyphs.test_per_class=5", "data.glyphs.open_per_class=5")
    small = (*fewer, "backbone.width=4", "data.image_size=24", "train.epochs=1", "train.batch_size=97")
    command = ["plain", "--dataset", "glyphs-lt", *(word for setting in small for word in ("--set", setting))]
    metrics = assert_all_end_like_one(oltr, command, (2, 4))
    assert 0 < metrics["closed/overall"] < 1


def test_a_head_on_features_is_the_same_bit_for_bit(oltr, tiny_recipe):
    alone = json.loads(oltr("run", "crt", "--recipe", tiny_recipe, "--json", "--workers", "0").stdout)
    history = rows(oltr, "crt")
    shutil.rmtree(oltr.runs / "tiny" / "crt")
    assert run_together(oltr, 2, "crt", "--recipe", tiny_recipe)["metrics"] == alone["metrics"]
    assert [row["loss"] for row in rows(oltr, "crt")] == [row["loss"] for row in history]


def test_a_killed_process_ends_all_with_one_line_and_one_process_goes_on(oltr, tiny_recipe, tmp_path):
    command = ["plain", "--recipe", tiny_recipe, "--set", "train.epochs=12", "--workers", 0]
    # Two processes round otherwise than one, and how long there are two depends on the kill.
    oltr.env["OLTR_PRECISION"] = "float64"
    oltr("run", *command)
    history = rows(oltr)
    oltr.runs = tmp_path / "disturbed"
    oltr.env["OLTR_RUNS"] = str(oltr.runs)
    for victim in (1, 0):
        group = start_group(oltr.env, 2, tmp_path / f"group {victim}", "run", *command)
        before = len(list(oltr.runs.glob("tiny/plain/*/metrics.jsonl"))) and len(rows(oltr))
        while not list(oltr.runs.glob("tiny/plain/*/metrics.jsonl")) or len(rows(oltr)) < before + 2:
            assert group[victim].poll() is None, group[victim].communicate()
            time.sleep(0.01)
        group[victim].kill()
        killed = time.monotonic()
        _, said = group[1 - victim].communicate(timeout=60)
        assert time.monotonic() - killed < 20
        assert group[1 - victim].returncode == 1
        assert said.count("another process of this run ended") == 1, said
        assert "Traceback" not in said
    result = json.loads(oltr("run", *command, "--json").stdout)
    assert result["status"] == "done"
    for row, wanted in zip(rows(oltr), history, strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-6)


def test_an_error_that_all_have_is_said_once(oltr, tiny_recipe, tmp_path):
    command = ["run", "plain", "--recipe", tiny_recipe, "--set", "train.batch_size=2", "--workers", 0]
    group = start_group(oltr.env, 3, tmp_path / "group", *command)
    said = [member.communicate(timeout=240)[1] for member in group]
    assert [member.returncode for member in group] == [2, 2, 2], said
    assert "".join(said).count("3 processes cannot share batches of 2; start at most 2") == 1
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_a_device_of_one_process_is_refused_in_a_group(monkeypatch, device):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageProblem, match=f"--device {device}: several processes take a GPU each"):
        machine._check_group(device, None)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    machine._check_group(None, 4)
    with pytest.raises(UsageProblem, match="4 processes on 2 GPUs; start as many as there are GPUs"):
        machine._check_group(None, 2)


def test_loading_processes_are_divided_among_the_group(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert machine.default_workers() == 2


def test_shares_are_neighbours_and_cover_the_batch():
    from oltr_cli.data.feed.loading import rank_share

    for size in (1, 7, 8, 128):
        for world in (1, 2, 3, 4):
            rows = [list(range(size))[rank_share(size, rank, world)] for rank in range(world)]
            assert [row for share in rows for row in share] == list(range(size))


def test_a_group_leaves_a_run_that_another_command_makes_and_makes_the_rest(oltr, tiny_recipe, tmp_path):
    options = ("--recipe", tiny_recipe, "--methods", "crt,tau-norm", "--run", "--device", "cpu", "--json")
    oltr("run", "plain", "--recipe", tiny_recipe, "--workers", "0")
    planned = json.loads(oltr("run", "crt", "--recipe", tiny_recipe, "--dry-run", "--json").stdout)["runs"]
    crt = oltr.runs / planned[-1]["run"]
    with run_from_path(crt).lock():
        group = start_group(oltr.env, 2, tmp_path / "group", "compare", "--table", "3a", *options)
        wait_for(lambda: list(oltr.runs.glob("tiny/tau-norm/*/result.json")), group[0], 240)
        assert list(oltr.runs.glob("tiny/tau-norm/*/result.json"))
        assert not (crt / "result.json").exists()
    said = [member.communicate(timeout=240) for member in group]
    assert [member.returncode for member in group] == [0, 0], said
    assert [row["status"] for row in json.loads(said[0][0])["rows"]] == ["measured"] * 2
