"""Never lose work: kills at any moment, and what the same command makes of what is left, bit by bit."""

import json
import os
import shutil
import signal

import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.pipeline.make import run_method
from oltr_cli.training import engine
from tests.helpers.outcomes import assert_equal, outcome_of, run_dir, wait_for

LONG = ("--set", "train.epochs=25")


def outcome(oltr, method):
    return outcome_of(run_dir(oltr, method))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, tiny_data, tiny_recipe):
    from tests.helpers.tiny import Oltr

    oltr = Oltr(tmp_path_factory.mktemp("unbroken") / "runs", tiny_data)
    oltr("run", "dme", "--recipe", tiny_recipe, "--workers", 0)
    return {method: outcome(oltr, method) for method in ("plain", "dme")}


@pytest.fixture(scope="module")
def long_unbroken(tmp_path_factory, tiny_data, tiny_recipe):
    """Many short epochs, so that a signal surely arrives before the last one."""
    from tests.helpers.tiny import Oltr

    oltr = Oltr(tmp_path_factory.mktemp("long") / "runs", tiny_data)
    oltr("run", "plain", "--recipe", tiny_recipe, *LONG)
    return outcome(oltr, "plain")


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_again_and_again_it_ends_in_the_same_bits(oltr, tiny_recipe, unbroken, workers):
    command = ("run", "dme", "--recipe", tiny_recipe, "--workers", workers)
    plain, dme = oltr.runs / "tiny" / "plain", oltr.runs / "tiny" / "dme"
    moments = [
        lambda: any(plain.glob("*/last.pt")),  # an epoch of stage 1 is done
        lambda: any(plain.glob("*/scores/test.npz")),  # in the middle of scoring
        lambda: any(dme.glob("*/recipe.toml")),  # stage 2 is just beginning
        lambda: any(dme.glob("*/last.pt")),
    ]
    for moment in moments:
        process = oltr.start(*command)
        wait_for(moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    oltr(*command)
    for method in ("plain", "dme"):
        assert_equal(outcome(oltr, method), unbroken[method])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_at_the_next_step_with_a_checkpoint(oltr, tiny_recipe, long_unbroken, number):
    process = oltr.start("run", "plain", "--recipe", tiny_recipe, *LONG, "--workers", 1)
    wait_for(lambda: any((oltr.runs / "tiny" / "plain").glob("*/metrics.jsonl")), process)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "stopped tiny/plain" in err
    assert "the same command resumes from there" in err
    assert "Traceback" not in err
    checkpoint = torch.load(run_dir(oltr, "plain") / "last.pt", weights_only=True)
    assert 0 < checkpoint["progress"]["epoch"] < 25
    oltr("run", "plain", "--recipe", tiny_recipe, *LONG)
    assert_equal(outcome(oltr, "plain"), long_unbroken)


def test_a_long_epoch_is_saved_by_time_too(oltr, tiny_recipe, unbroken, monkeypatch):
    """A run that is killed more often than once an epoch advances all the same."""
    for name, value in oltr.env.items():
        if name.startswith(("OLTR_", "XDG_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("OLTR_CHECKPOINT_MINUTES", "1e-9")
    monkeypatch.setattr("oltr_cli.training.saving.LEAST_BETWEEN", 0)
    step = engine.Training.step

    def killed(training, batch, epoch, number):
        if (epoch, number) == (0, 3):
            raise KeyboardInterrupt
        return step(training, batch, epoch, number)

    monkeypatch.setattr(engine.Training, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run_method("plain", str(tiny_recipe), device="cpu", workers=0, display=Display(quiet=True))
    checkpoint = torch.load(run_dir(oltr, "plain") / "last.pt", weights_only=True)
    assert (checkpoint["progress"]["epoch"], checkpoint["progress"]["step"]) == (0, 3)
    monkeypatch.setattr(engine.Training, "step", step)
    run_method("plain", str(tiny_recipe), device="cpu", workers=0, display=Display(quiet=True))
    assert_equal(outcome(oltr, "plain"), unbroken["plain"])


KEYS = {
    "schedule and crop": (
        "plain",
        [
            "train.schedule=multistep",
            "train.milestones=[1, 2]",
            "train.warmup_epochs=2",
            "data.crop_padding=2",
        ],
    ),
    "recentred, attention at random": ("dme", ["params.recentre=true", "params.attention_init=code"]),
    "recentred, frozen backbone": ("dme", ["params.recentre=true", "train.freeze_backbone=true"]),
    "mixup": ("plain", ["train.mixup=0.4"]),
    "mixup and cutmix": ("plain", ["train.mixup=0.4", "train.cutmix=1.0"]),
    "sampler sqrt": ("plain", ["train.sampler=sqrt"]),
    "sampler progressive": ("plain", ["train.sampler=progressive"]),
    "adamw": (
        "plain",
        [
            "train.optimizer=adamw",
            "train.lr.features=0.001",
            "train.layer_decay=0.75",
            "train.decay_norms=false",
            "train.clip_norm=1",
        ],
    ),
    "accumulate": ("plain", ["train.accumulate=2", "train.optimizer=adamw", "train.lr.features=0.001"]),
    "ema": ("plain", ["train.ema=0.9", "train.accumulate=2"]),
    "augmentation": ("plain", ["data.rand_augment=[2, 9]", "data.random_erasing=0.5"]),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_a_stage_resumes_in_the_same_bits(oltr, tiny_recipe, name, monkeypatch):
    """Stopped in the middle of the second epoch, and of a step where that takes several batches."""
    method, sets = KEYS[name]
    for variable, value in oltr.env.items():
        if variable.startswith(("OLTR_", "XDG_")):
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OLTR_CHECKPOINT_MINUTES", "1e-9")
    monkeypatch.setattr("oltr_cli.training.saving.LEAST_BETWEEN", 0)

    def train():
        run_method(method, str(tiny_recipe), sets, device="cpu", workers=0, display=Display(quiet=True))

    train()
    whole = outcome(oltr, method)
    shutil.rmtree(run_dir(oltr, method))
    step = engine.Training.step

    def killed(training, batch, epoch, number):
        if (epoch, number) == (1, 3):
            raise KeyboardInterrupt
        return step(training, batch, epoch, number)

    monkeypatch.setattr(engine.Training, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train()
    monkeypatch.setattr(engine.Training, "step", step)
    train()
    assert_equal(outcome(oltr, method), whole)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "often"])
def test_minutes_that_are_none_are_refused(oltr, tiny_recipe, text):
    done = oltr("run", "plain", "--recipe", tiny_recipe, OLTR_CHECKPOINT_MINUTES=text, check=2)
    assert f"OLTR_CHECKPOINT_MINUTES={text}: give a number of minutes above 0" in done.stderr


def test_a_checkpoint_cut_short_falls_back_to_the_one_before(oltr, tiny_recipe, unbroken):
    process = oltr.start("run", "plain", "--recipe", tiny_recipe)
    wait_for(lambda: any((oltr.runs / "tiny" / "plain").glob("*/last.prev.pt")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = run_dir(oltr, "plain") / "last.pt"
    if last.exists():
        last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    (run_dir(oltr, "plain") / "result.json").unlink(missing_ok=True)
    done = oltr("run", "plain", "--recipe", tiny_recipe)
    assert "resuming from the checkpoint before it" in done.stderr
    assert_equal(outcome(oltr, "plain"), unbroken["plain"])


def test_both_checkpoints_gone_it_starts_anew(oltr, tiny_recipe, unbroken):
    oltr("run", "plain", "--recipe", tiny_recipe)
    path = run_dir(oltr, "plain")
    for name in ("last.pt", "last.prev.pt"):
        (path / name).write_bytes(b"")
    (path / "result.json").unlink()
    done = oltr("run", "plain", "--recipe", tiny_recipe)
    assert "starting from the beginning" in done.stderr
    assert_equal(outcome(oltr, "plain"), unbroken["plain"])


def test_a_finished_run_is_not_run_again(oltr, tiny_recipe):
    first = oltr("run", "plain", "--recipe", tiny_recipe, "--json")
    checkpoint = (run_dir(oltr, "plain") / "last.pt").stat().st_mtime_ns
    second = oltr("run", "plain", "--recipe", tiny_recipe, "--json")
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert (run_dir(oltr, "plain") / "last.pt").stat().st_mtime_ns == checkpoint


def test_a_changed_recipe_or_seed_is_a_different_run(oltr, tiny_recipe):
    names = set()
    for extra in ([], ["--set", "train.epochs=1"], ["--seed", "1"]):
        shown = oltr("run", "plain", "--recipe", tiny_recipe, *extra, "--dry-run", "--json")
        names.add(json.loads(shown.stdout)["runs"][0]["run"])
    assert len(names) == 3
    assert not oltr.runs.exists()


def test_two_processes_asking_for_one_run_train_it_once(oltr, tiny_recipe, unbroken):
    processes = [oltr.start("run", "plain", "--recipe", tiny_recipe, "--json") for _ in range(3)]
    outputs = [p.communicate(timeout=200) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], outputs
    results = [json.loads(out) for out, _ in outputs]
    assert results[0] == results[1] == results[2]
    trained = [err for _, err in outputs if "3/3" in err]
    assert len(trained) == 1
    waited = [err for _, err in outputs if "waiting for it" in err or "is finished" in err]
    assert len(waited) == 2
    assert_equal(outcome(oltr, "plain"), unbroken["plain"])


def test_changed_lists_do_not_mix_into_an_interrupted_run(tmp_path, own_tiny_data, tiny_recipe):
    from tests.helpers.tiny import Oltr

    oltr = Oltr(tmp_path / "runs", own_tiny_data)
    oltr("run", "plain", "--recipe", tiny_recipe)
    (run_dir(oltr, "plain") / "result.json").unlink()
    train = own_tiny_data / "tiny" / "train.txt"
    train.write_text("\n".join(train.read_text().splitlines()[::-1]) + "\n")
    done = oltr("run", "plain", "--recipe", tiny_recipe, check=3)
    assert "other image lists" in done.stderr
