"""Studies: what a trial is judged by, that the test set is never looked at, and that no interruption costs a trial."""

import json
import shlex
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from oltr_cli.base.display import Display
from oltr_cli.commands.tune import tune_app
from oltr_cli.data.lists.lists import digest_of_files
from oltr_cli.errors import DataProblem, OltrError, Stopped, UsageProblem
from oltr_cli.pipeline.make import run_method
from oltr_cli.planning.plan import equal_budget, plan
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.runs.folder import find_runs
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training import engine
from oltr_cli.tuning import search as search_module
from oltr_cli.tuning.best import search_command
from oltr_cli.tuning.request import Request
from oltr_cli.tuning.search import search
from oltr_cli.tuning.study import load_study
from oltr_cli.tuning.summary import next_commands, of_earlier_build
from oltr_cli.tuning.trial import Outcome, Workbench, validation_view
from tests.helpers.searches import CLASS_COUNTS, QUIET, Told, numbers, quick

# --- what a trial is


def test_trials_are_trained_and_judged_on_validation(ask, root):
    study = search(ask(total=3), QUIET)
    first = study.trials()[0]
    assert first.params == {"params.lambda": 0.01}, "the recipe's own value comes first"
    assert len({t.params["params.lambda"] for t in study.trials()}) == 3
    for trial in study.trials():
        folder = study.path / "trials" / f"{trial.number:03}"
        val, open_val = (SavedScores.load(folder / "scores" / f"{split}.npz") for split in ("val", "open_val"))
        note = trial.user_attrs["outcome"]
        taus = np.unique(np.concatenate([val.confidence, open_val.confidence, [0.0]]))
        by_tau = [all_metrics(val, open_val, CLASS_COUNTS, float(tau))["open/f_measure"] for tau in taus]
        assert trial.values == [pytest.approx(max(by_tau))], "no threshold is better"
        expected = all_metrics(val, open_val, CLASS_COUNTS, note["threshold"])
        assert {name: note["metrics"][name] for name in expected} == expected
        assert note["metrics"]["closed/ece"] > 0
        assert note["epochs"] == 2
        assert list(trial.intermediate_values) == [1, 2]
        assert sorted(path.name for path in (folder / "scores").iterdir()) == ["open_val.npz", "val.npz"]
    kept = [path.parent.name for path in study.path.rglob("*.pt")]
    assert kept == [f"{study.best().number:03}"], "of the best alone"


def test_no_table_takes_a_trial_for_a_run(ask, root):
    search(ask(total=1), QUIET)
    assert [run.method for run in find_runs()] == ["plain"]


def test_the_first_trial_is_what_oltr_run_would_give(ask, root, tiny_recipe):
    study = search(ask(total=1), QUIET)
    run_method("dme", str(tiny_recipe), track=False, workers=0, device="cpu", display=QUIET)
    run = plan("dme", str(tiny_recipe), [], 0)[-1].run
    for split in ("val", "open_val"):
        ours = SavedScores.load(study.path / "trials/000/scores" / f"{split}.npz")
        np.testing.assert_array_equal(ours.confidence, SavedScores.load(run.scores(split)).confidence)
    assert study.trials()[0].user_attrs["outcome"]["threshold"] == run.result().other_thresholds["val_open"].value


@pytest.mark.parametrize("method", ["dme", "crt", "plain+energy", "plain+knn", "tau-norm"])
def test_a_trial_has_no_way_to_the_test_set(ask, root, own_tiny_data, monkeypatch, method):
    """Everything of it is gone or poisoned, and the search does not notice."""
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    data = own_tiny_data / "tiny"
    for split in ("test", "open"):
        shutil.rmtree(data / split)
        (data / f"{split}.txt").write_text("no list at all\n")
        for scores in root.rglob(f"scores/{split}.npz"):
            scores.write_bytes(b"poison")
    ranges = {"crt": ("train.lr.classifier=0.01:0.1",), "plain+energy": ("temperature=0.5:2",)}
    options = {"ranges": ranges[method]} if method in ranges else {}
    study = search(ask(method, total=2, **options), QUIET)
    assert numbers(study) == [0, 1]
    view = validation_view(plan("dme", ask().recipe, [], 0)[-1].link.recipe.data)
    assert sorted(view.splits) == ["open_val", "train", "val"]


@pytest.fixture
def with_digest(own_tiny_data, monkeypatch):
    """The assignment that a recipe of ``oltr data build`` has, for lists that a test may change."""
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    return f"data.lists_digest={digest_of_files('tiny', own_tiny_data / 'tiny')}"


@pytest.mark.parametrize("split", ["train", "val", "open_val", "test", "open"])
def test_lists_that_were_changed_under_a_search_are_noticed_at_its_start(
    ask, with_digest, own_tiny_data, monkeypatch, split
):
    monkeypatch.setattr("oltr_cli.tuning.search.make_runs", lambda *_, **__: pytest.fail("a run was begun"))
    path = own_tiny_data / "tiny" / f"{split}.txt"
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(DataProblem, match=r"the lists in .*tiny are not those its recipe was made for"):
        search(ask(sets=[with_digest]), QUIET)


def test_what_is_known_of_the_test_lists_is_a_digest_before_the_first_trial(
    ask, root, with_digest, own_tiny_data, monkeypatch
):
    """From where the data is opened for trials on, the test set is gone, and the lists are not compared again."""
    workbench = search_module._workbench

    def poisoned(*arguments):
        for split in ("test", "open"):
            shutil.rmtree(own_tiny_data / "tiny" / split)
            (own_tiny_data / "tiny" / f"{split}.txt").write_text("no list at all\n")
            for scores in root.rglob(f"scores/{split}.npz"):
                scores.write_bytes(b"poison")
        return workbench(*arguments)

    monkeypatch.setattr(search_module, "_workbench", poisoned)
    assert numbers(search(ask(total=2, sets=[with_digest, "plain.train.epochs=1"]), QUIET)) == [0, 1]


def test_the_glyphs_come_without_their_test_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    few = {"known_classes": 4, "open_classes": 2, "open_val_classes": 2, "tail_max": 6, "open_per_class": 2}
    spec = plan("plain", "glyphs-lt", [f"data.glyphs.{k}={v}" for k, v in few.items()], 0)[-1].link.recipe.data
    assert spec.kind == "glyphs"
    assert sorted(validation_view(spec).splits) == ["open_val", "train", "val"]


def test_without_open_validation_images_it_is_accuracy(ask, root, own_tiny_data, monkeypatch, tiny_recipe):
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    for split in ("open", "open_val"):
        (own_tiny_data / "tiny" / f"{split}.txt").unlink()
    study = search(ask("crt", total=1), QUIET)
    assert study.about.objective == "closed/overall"
    note = study.trials()[0].user_attrs["outcome"]
    assert note["threshold"] is None
    assert study.trials()[0].values == [note["metrics"]["closed/overall"]]
    with pytest.raises(DataProblem, match="open/auroc needs open validation images"):
        search(ask("crt", objective="open/auroc"), QUIET)


def test_a_frozen_backbone_is_looked_at_once_for_all_trials(ask, root):
    study = search(ask(total=3, sets=["train.freeze_backbone=true"]), QUIET)
    (home,) = root.rglob("frozen")
    assert home.parent.parent.name == "plain"
    assert len([path for path in home.iterdir() if path.is_dir()]) == 3  # train, val, open_val
    assert numbers(study) == [0, 1, 2]
    # Judged on the kept features as a run of best.toml is on the images.
    run_method("dme", str(study.path / "best.toml"), track=False, workers=0, device="cpu", display=QUIET)
    val = SavedScores.load(plan("dme", str(study.path / "best.toml"), [], 0)[-1].run.scores("val"))
    ours = SavedScores.load(study.path / "trials" / f"{study.best().number:03}" / "scores/val.npz")
    np.testing.assert_allclose(ours.confidence, val.confidence, rtol=1e-4)


# --- best.toml


@pytest.mark.parametrize("method", ["dme", "plain", "plain+energy"])
def test_best_toml_is_the_best_trial_and_nothing_else(ask, root, method, monkeypatch):
    ranges = {
        "dme": ("lambda=0.001:1:log", "epochs=1:2", "attention=none,spatial,modulated"),
        "plain": ("data.flip=true,false", "lr.features=0.01:0.1", "epochs=1:3"),
        "plain+energy": ("temperature=0.5:2",),
    }
    sets = ["train.weight_decay=0.001", "plain.train.epochs=3"] if method == "dme" else []
    monkeypatch.setattr(Workbench, "run", lambda self, p, log: Outcome({"open/f_measure": hash_of(p)}, 0.1, 1, 1, 1.0))
    study = search(ask(method, total=4, ranges=ranges[method], sets=sets), QUIET)
    best = study.best()
    wanted = plan(method, ask().recipe, [*sets, *(f"{k}={json.dumps(v)}" for k, v in best.params.items())], 0)
    got = plan(method, str(study.path / "best.toml"), [], 0)
    assert [p.run for p in got] == [p.run for p in wanted]
    assert [p.link.recipe for p in got] == [p.link.recipe for p in wanted]


def test_best_toml_leaves_all_other_methods_as_they_are(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    request = ask(total=1, sets=["train.epochs=7"])
    best = str(search(request, QUIET).path / "best.toml")
    for method in ("range", "crt", "plain+energy"):
        there, here = plan(method, best, [], 0)[-1].link.recipe, plan(method, request.recipe, [], 0)[-1].link.recipe
        assert there == here
    assert equal_budget("plain", best) == equal_budget("plain", request.recipe)


@pytest.mark.parametrize("method", ["dme", "plain", "plain+energy"])
def test_the_command_that_goes_on_names_the_same_study(ask, root, method, monkeypatch):
    monkeypatch.setattr(Workbench, "run", lambda self, p, log: Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0))
    ranges = {
        "dme": ("lambda=0.0012345678:1:log", "attention=none,spatial", "calibrator=true,false"),
        "plain": ("data.flip=true,false", "epochs=1:3"),
        "plain+energy": ("temperature=0.5:2",),
    }
    study = search(ask(method, total=1, ranges=ranges[method], seed=3, prune=False), QUIET)
    words = shlex.split(search_command(study.about))
    assert words[:2] == ["oltr", "tune"]
    asked = []
    monkeypatch.setattr("oltr_cli.tuning.search.search", lambda request, display: asked.append(request) or study)
    done = CliRunner().invoke(tune_app, [*words[2:], "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    again = search(replace(asked[0], total=1, workers=0, device="cpu", track=False), QUIET)
    assert again.name == study.name


def test_a_study_of_an_earlier_build_says_so(ask, root, tmp_path, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    study = search(ask(total=1), QUIET)
    assert not of_earlier_build(study)
    assert next_commands(study)
    monkeypatch.setitem(study.about.chain[-1]["data"], "lists_digest", "old")
    monkeypatch.setattr("oltr_cli.tuning.summary.lists_of", lambda source: "new")
    assert next_commands(study) == []


def hash_of(p):
    return int(p.link.hash, 16) / 16**10


# --- going on


def stop_at(monkeypatch, number, epoch, error):
    """Raise ``error`` once, in a trial, after the checkpoint of an epoch."""
    from oltr_cli.tuning import worker

    original, left = worker.Worker._ended, [True]

    def ended(self, claim, p, log, began):
        def interrupted(metrics, at):
            log(metrics, at)
            if claim.number == number and at == epoch and left:
                left.clear()
                raise error

        return original(self, claim, p, interrupted, began)

    monkeypatch.setattr(worker.Worker, "_ended", ended)


def test_an_interrupted_study_goes_on_to_the_same_end(ask, root, tmp_path, monkeypatch, finished):
    unbroken = search(ask(total=4), QUIET)
    expected = [(t.number, t.params, t.values, t.intermediate_values) for t in unbroken.trials()]
    weights = torch.load(unbroken.path / "trials" / f"{unbroken.best().number:03}" / "best.pt", weights_only=True)
    shutil.copytree(finished, tmp_path / "again")
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "again"))
    stop_at(monkeypatch, 2, 1, Stopped("stopped", 2))
    with pytest.raises(Stopped):
        search(ask(total=4), QUIET)
    interrupted = load_study(tmp_path / "again" / "tiny" / "studies" / unbroken.path.name)
    assert [t.state.name for t in interrupted.trials()] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert (interrupted.path / "trials/002/last.pt").exists()
    display = Told()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's, of an epoch that is reported twice
        study = search(ask(total=4), display)
    assert any("resuming trial 2" in line for line in display.lines)
    assert [(t.number, t.params, t.values, t.intermediate_values) for t in study.trials()] == expected
    again = torch.load(study.path / "trials" / f"{study.best().number:03}" / "best.pt", weights_only=True)
    assert all(torch.equal(tensor, again["model"][name]) for name, tensor in weights["model"].items())


def stop_in(monkeypatch, number, error):
    """Trials that train nothing, of which one ends the command by ``error``."""

    def run(self, p, log_epoch):
        if p.run.path.name == f"{number:03}":
            raise error
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)


def the_study(root):
    (folder,) = (root / "tiny" / "studies").glob("*/")
    return load_study(folder)


@pytest.mark.parametrize("error", [Stopped("stopped", 2), KeyboardInterrupt(), SystemExit(3)])
def test_what_has_finished_is_recorded_when_a_search_is_stopped(ask, root, monkeypatch, error):
    drawn = []
    monkeypatch.setattr("oltr_cli.tuning.pictures.save_pictures", lambda study: drawn.append(study.name) or [])
    stop_in(monkeypatch, 2, error)
    with pytest.raises(type(error)) as caught:
        search(ask(total=4), QUIET)
    assert caught.value is error
    study = the_study(root)
    assert numbers(study) == [0, 1]
    assert (study.path / "best.toml").exists()
    assert drawn == [study.name]


@pytest.mark.parametrize("wrong", [KeyboardInterrupt(), OltrError("no space left"), RuntimeError("of ours")])
def test_what_goes_wrong_in_recording_does_not_hide_why_a_search_ended(ask, root, monkeypatch, wrong):
    def fails(study, warn):
        raise wrong

    monkeypatch.setattr("oltr_cli.tuning.worker.record", fails)
    error = Stopped("stopped", 2)
    stop_in(monkeypatch, 1, error)
    with pytest.raises(Stopped) as caught:
        search(ask(total=4), QUIET)
    assert caught.value is error


def test_a_trial_that_nobody_works_on_is_told_from_one_that_goes_on(ask, root, monkeypatch):
    stop_in(monkeypatch, 1, Stopped("stopped", 2))
    with pytest.raises(Stopped):
        search(ask(total=3), QUIET)
    study = the_study(root)
    begun = study.trials()[1].user_attrs["begun"]
    assert study.abandoned() == {1}
    with FileLock(study.path / "trials/001/.lock"):
        assert study.abandoned() == set()
    assert the_study(root).trials()[1].user_attrs["begun"] == begun, "it was not taken"
    study.study.ask()  # a worker that died at once, before it had a folder
    assert study.abandoned() == {1, 2}
    assert not (study.path / "trials/002").exists()
    display = Told()
    search(ask(total=3, timeout=0.0), display)
    assert not any("with other workers" in line for line in display.lines)


def test_a_trial_that_was_asked_for_and_never_begun_is_made(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5 - abs(values["lambda"] - 0.1))
    study = search(ask(total=2), QUIET)
    study.study.ask()  # a worker that died at once, before it had a folder or a value
    study = search(ask(total=4), QUIET)
    assert numbers(study) == [0, 1, 2, 3]
    assert len({t.params["params.lambda"] for t in study.trials()}) == 4


def test_asking_again_makes_no_more_and_asking_for_more_makes_the_difference(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5 - abs(values["lambda"] - 0.1))
    first = search(ask(total=3), QUIET)
    journal = first.path.with_name(f"{first.path.name}.journal").read_bytes()
    assert numbers(search(ask(total=3), QUIET)) == [0, 1, 2]
    assert numbers(search(ask(total=2), QUIET)) == [0, 1, 2]
    assert first.path.with_name(f"{first.path.name}.journal").read_bytes() == journal
    assert numbers(search(ask(total=5), QUIET)) == [0, 1, 2, 3, 4]


def test_what_differs_is_another_study(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    requests = [ask(total=1), ask(total=1, seed=1), ask(total=1, objective="closed/overall"), ask(total=1, prune=False)]
    requests += [ask(total=1, ranges=("lambda=0.002:1:log",)), ask(total=1, sets=["params.margin=3"])]
    monkeypatch.setattr("oltr_cli.tuning.search.make_runs", lambda *_, **__: None)
    names = [search(request, QUIET).name for request in requests]
    assert len(set(names)) == len(names)
    assert all(name.startswith("tiny/dme-lambda-") for name in names)


def test_the_time_is_up_before_the_first(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    assert search(ask(total=3, timeout=0.0), QUIET).trials() == []


# --- failing, falling behind


def test_a_trial_that_fails_is_recorded_and_the_next_goes_on(ask, root, monkeypatch):
    def judge(values, epoch):
        if values["lambda"] > 0.02:
            raise OltrError("too much of it") if epoch == 1 else AssertionError
        return 0.5

    quick(monkeypatch, judge)
    display = Told()
    study = search(ask(total=8), display)
    failed = [t for t in study.trials() if t.state.name == "FAIL"]
    assert failed
    assert len(study.trials()) == 8
    assert {t.user_attrs["reason"] for t in failed} == {"too much of it"}
    assert any("failed[/]: too much of it" in line for line in display.lines)
    assert numbers(search(ask(total=8), QUIET), "FAIL") == [t.number for t in failed], "they are not tried again"


@pytest.mark.parametrize("when", ["training", "scoring"])
def test_a_trial_whose_folder_goes_away_fails_and_the_next_goes_on(ask, root, monkeypatch, when):
    def remove_second(study_run):
        if study_run.path.name == "001":
            shutil.rmtree(study_run.path)

    trained, finish = Workbench._trained, engine.Training._finish_epoch

    def train_and_remove(self, p, log_epoch):
        made = trained(self, p, log_epoch)
        remove_second(p.run)
        return made

    def remove_and_finish(self):
        remove_second(self.task.run)
        return finish(self)

    if when == "scoring":
        monkeypatch.setattr(Workbench, "_trained", train_and_remove)
    else:
        monkeypatch.setattr(engine.Training, "_finish_epoch", remove_and_finish)
    study = search(ask("plain", ranges=("train.lr.features=0.01:0.1:log",)), QUIET)
    assert [t.state.name for t in study.trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    reason = f"{study.path / 'trials/001'}: was removed or moved during the trial; ask for one more trial instead"
    assert study.trials()[1].user_attrs["reason"] == reason


def test_a_study_that_goes_away_is_one_line_and_goes_on_where_it_was_once_it_is_back(ask, root, tmp_path, monkeypatch):
    def judge(values, epoch):
        if values["lambda"] != 0.01 and root.exists():
            root.rename(tmp_path / "away")
        return 0.5

    quick(monkeypatch, judge)
    with pytest.raises(OltrError, match=r"\.journal: was removed or moved during the search; move it back") as caught:
        search(ask(total=3), QUIET)
    assert "\n" not in str(caught.value)
    assert not [path for path in root.rglob("*") if path.suffix != ".lock" and path.is_file()], "no headless journal"
    shutil.rmtree(root, ignore_errors=True)
    (tmp_path / "away").rename(root)
    quick(monkeypatch, lambda values, epoch: 0.5)
    assert numbers(search(ask(total=3), QUIET)) == [0, 1, 2]


def test_a_methods_own_fault_is_kept_with_its_traceback(ask, root, monkeypatch):
    def judge(values, epoch):
        if values["lambda"] != 0.01:
            raise ValueError("shapes differ\nand more")
        return 0.5

    quick(monkeypatch, judge)
    study = search(ask(total=2), QUIET)
    assert study.trials()[1].user_attrs["reason"] == "ValueError: shapes differ"
    assert "Traceback" in (study.path / "trials/001/error.txt").read_text()


def test_three_failures_and_no_success_end_the_command(ask, root, monkeypatch):
    def judge(values, epoch):
        raise OltrError("never")

    quick(monkeypatch, judge)
    with pytest.raises(OltrError, match="the first 3 trials failed, the last: never"):
        search(ask(total=9), QUIET)


def test_values_that_do_not_go_together_are_one_failed_trial(ask, root, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    study = search(ask(total=6, ranges=("batch_size=2:16", "images_per_class=1:2")), QUIET)
    failed = [t for t in study.trials() if t.state.name == "FAIL"]
    assert failed
    assert all("is not a multiple of" in t.user_attrs["reason"] for t in failed)


@pytest.mark.parametrize("objective", ["open/f_measure", "open/fpr95"])
def test_trials_that_fall_behind_are_cut_short(ask, root, monkeypatch, objective):
    """Larger λ is worse here, whichever way the objective points."""
    quick(monkeypatch, lambda values, epoch: 0.5 + 0.05 * epoch - values["lambda"] / 3)
    sets = ["train.epochs=6"]
    study = search(ask(total=20, sets=sets, objective=objective), QUIET)
    cut = [t for t in study.trials() if t.state.name == "PRUNED"]
    done = [t for t in study.trials() if t.state.name == "COMPLETE"]
    assert len(done) >= 5
    assert cut
    assert all(2 <= t.last_step < 6 for t in cut), "not in the first third of the epochs"
    assert np.median([t.params["params.lambda"] for t in cut]) > np.median([t.params["params.lambda"] for t in done])
    assert study.about.maximize == (objective == "open/f_measure")
    best = study.best()
    assert best.params["params.lambda"] == min(t.params["params.lambda"] for t in done)
    study = search(ask(total=20, sets=sets, objective=objective, prune=False), QUIET)
    assert len(numbers(study)) == 20


def test_an_objective_that_cannot_be_computed_fails_the_trial(ask, root, monkeypatch):
    monkeypatch.setattr(Workbench, "run", lambda self, p, log: Outcome({"closed/many": None}, 0.1, 1, 1, 1.0))
    with pytest.raises(OltrError, match="closed/many cannot be computed on this validation set"):
        search(ask(objective="closed/many"), QUIET)


def test_requests_that_do_not_fit(ask, root, monkeypatch):
    with pytest.raises(UsageProblem, match="no such metric; did you mean 'open/f_measure'"):
        search(ask(objective="open/f_mesure"), QUIET)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageProblem, match="once for each GPU"):
        search(ask(), QUIET)


@pytest.mark.parametrize("text", ["lambda", "lambda=1:0.1", "lambda=0:1:log", "lambda=1:x", "lambda=1:2:lin", "x=3"])
def test_a_range_that_is_none_is_answered_before_torch_is_started(ask, monkeypatch, text):
    monkeypatch.setattr(Display, "starting_torch", lambda self: self.say("starting torch"))
    monkeypatch.setattr(search_module, "plan", lambda *_: pytest.fail("methods were loaded"))
    display = Told()
    with pytest.raises(UsageProblem, match=f"--range {text}: "):
        search(ask(ranges=(text,)), display)
    assert display.lines == []


def test_a_file_of_ranges_that_is_none_is_answered_before_torch_is_started(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(search_module, "plan", lambda *_: pytest.fail("methods were loaded"))
    file = tmp_path / "space.toml"
    file.write_text('[train.lr]\nfeatures = "2:1"\n')
    with pytest.raises(UsageProblem, match=r"space\.toml: train\.lr\.features must go from a lower"):
        search(ask(space_file=file), QUIET)


def test_torch_is_announced_before_it_is_started(ask, monkeypatch):
    display = Told()
    monkeypatch.setattr(Display, "starting_torch", lambda self: self.say("starting torch"))

    def plan(*_):
        assert display.lines == ["starting torch"]
        raise UsageProblem("far enough")

    monkeypatch.setattr(search_module, "plan", plan)
    with pytest.raises(UsageProblem, match="far enough"):
        search(ask(), display)


def test_a_recipe_that_changes_on_the_way_is_noticed(ask, root, tmp_path, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    recipe = tmp_path / "mine.toml"
    text = Path(ask().recipe).read_text()
    recipe.write_text(text)
    request = ask()
    request = Request(**{**vars(request), "recipe": str(recipe)})

    def say(self, line):
        if "trials started" in line:
            recipe.write_text(text.replace("epochs = 3", "epochs = 4"))

    monkeypatch.setattr(Display, "say", say)
    with pytest.raises(DataProblem, match=r"mine\.toml has changed since this command started"):
        search(request, Display())


def test_a_word_that_is_nothing_is_answered_with_the_nearest(ask, root):
    with pytest.raises(UsageProblem, match="no key 'fokal' to tune; did you mean 'focal'"):
        search(ask(params=("fokal",)), QUIET)


def test_a_trials_time_is_the_one_that_the_study_keeps(ask, monkeypatch):
    quick(monkeypatch, lambda values, epoch: 0.5)
    whole = iter(range(0, 100_000, 1000))
    monkeypatch.setattr("oltr_cli.tuning.worker.time.monotonic", lambda: float(next(whole)))
    told = Told()
    search(ask(total=1), told)
    (line,) = (line for line in told.lines if line.split()[:1] == ["0"])
    assert "1.0 s" in line


def test_ctrl_c_between_trials_is_said(ask, monkeypatch):
    monkeypatch.setattr(
        "oltr_cli.tuning.study.Study.claim", lambda self, total: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        search(ask(total=1), told)
    assert any("the same command continues" in line for line in told.lines)
