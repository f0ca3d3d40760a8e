"""``oltr tune`` as it is typed: what words mean, what is printed, what is left on disk, and in MLflow."""

import json
import sys

import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner

from oltr_cli.base.files import read_json
from oltr_cli.commands.ls import ls
from oltr_cli.commands.tune import tune_app
from oltr_cli.errors import DataProblem, OltrError, Stopped, UsageProblem
from oltr_cli.planning.plan import plan
from oltr_cli.tuning import pictures
from oltr_cli.tuning.search import search
from oltr_cli.tuning.study import load_study
from oltr_cli.tuning.summary import importance
from oltr_cli.tuning.trial import Outcome, Workbench
from tests.helpers.fake_runs import make_run
from tests.helpers.searches import QUIET, ask, finished, numbers, quick, root  # noqa: F401 — fixtures

save_pictures = pictures.save_pictures  # as it is; the fixture ``root`` puts a stub in its place


def tune(*arguments, columns=120):
    app = typer.Typer()
    app.add_typer(tune_app, name="tune")
    app.command()(ls)
    return CliRunner().invoke(app, ["tune", *map(str, arguments)], env={"COLUMNS": str(columns)})


def told(result):
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


@pytest.fixture
def command(root, tiny_recipe, monkeypatch):  # noqa: F811
    """Trials that train nothing, of whatever is typed."""
    quick(monkeypatch, lambda values, epoch: 0.1 * epoch - values.get("lambda", 0.0) / 9)

    def run(*arguments, recipe=True, **how):
        options = ("--recipe", tiny_recipe, "--no-track", "--workers", 0) if recipe else ()
        return tune(*arguments, *options, **how)

    return run


# --- words


def test_help_lists_the_search_and_imports_nothing_heavy(monkeypatch):
    shown = tune("--help")
    assert shown.exit_code == 0
    for word in ("threshold", "search", "show", "oltr tune lambda"):
        assert word in shown.stdout
    assert tune("lambda", "--help").stdout == tune("search", "--help").stdout
    assert tune().exit_code == 2  # as any group without a word does


@pytest.mark.parametrize(
    ("words", "method", "keys"),
    [
        (["lambda"], "dme", ["params.lambda"]),
        (["search", "lambda"], "dme", ["params.lambda"]),
        (["dme"], "dme", ["params.lambda"]),
        (["--method", "dme", "lambda"], "dme", ["params.lambda"]),
        (["lambda", "margin", "--range", "margin=1:30"], "dme", ["params.lambda", "params.margin"]),
        (["--range", "lr.features=0.01:0.1", "--range", "epochs=1:3"], "dme", ["train.epochs", "train.lr.features"]),
        (["focal"], "focal", ["params.gamma"]),
        (["crt"], "crt", ["train.lr.classifier"]),
        (["gamma", "-m", "focal"], "focal", ["params.gamma"]),
    ],
)
def test_what_is_typed_is_what_is_tuned(command, words, method, keys):
    study = told(command(*words, "--trials", 1, "--json"))
    assert study["method"] == method
    assert list(study["space"]) == keys
    assert [t["number"] for t in study["trials"]] == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lamda"], "no key 'lamda' to tune; did you mean 'lambda'"),
        (["margin"], "margin: no range given, and dme has one only for lambda"),
        (["lambda", "--timeout", "soon"], "write it as 90s, 30m or 2h"),
        (["lambda", "--objective", "f"], "no such metric"),
        (["lambda", "--range", "lambda=-1:1"], "does not fit the recipe"),
        (["lambda", "--dataset", "glyphs-lt"], "both name a recipe"),
        (["lambda", "--set", "params.nothing=1"], "unknown key"),
        (["maxlogit"], "has no ranges of its own"),
        (
            ["lambda", "energy", "--method", "dme"],
            "energy is a detector, not a key of dme; to tune it, name it first: oltr tune energy --method dme",
        ),
        (["lambda", "focal"], "focal is a method, not a key of dme; to tune it, name it first: oltr tune focal"),
        (
            ["energy", "knn", "-m", "plain"],
            "not a key of plain+energy; to tune it, name it first: oltr tune knn --method",
        ),
        (["show", "--json"], "has no studies yet; start one: oltr tune lambda"),
    ],
)
def test_what_does_not_fit_is_one_line(command, arguments, message):
    result = command(*arguments, recipe=arguments[0] != "show")
    assert isinstance(result.exception, UsageProblem)
    assert message in str(result.exception)


# --- what is shown


def test_a_search_ends_with_its_trials_and_the_next_commands(command, root):  # noqa: F811
    shown = command("lambda", "--trials", 3)
    assert shown.exit_code == 0
    (folder,) = (root / "tiny" / "studies").glob("*/")
    study = load_study(folder)
    for trial in study.trials():
        assert f"{trial.params['params.lambda']:.4g}" in shown.stdout
        assert f"{trial.values[0]:.4f}" in shown.stdout
        assert f"{trial.values[0]:.4f}" in shown.stderr, "and a line each as they ended"
    best = f"{study.best().params['params.lambda']:.4g}"
    assert any(best in line and "best" in line for line in shown.stdout.splitlines())
    joined = shown.stderr.replace("\n", "")
    assert f"oltr run dme --recipe {folder / 'best.toml'}" in joined
    assert f"oltr tune show {study.name}" in joined
    assert "in 0.001:1:log" in shown.stderr


def test_a_range_is_no_picture_of_a_hundred(command, root):  # noqa: F811
    shown = command("lambda", "--range", "lambda=0.1:100:log", "--trials", 1)
    assert "params.lambda in 0.1:100:log" in shown.stderr


FOUR = ("lambda", "margin", "attention", "lr.features")
RANGES = ("--range", "margin=1:30", "--range", "attention=none,spatial,modulated", "--range", "lr.features=0.001:0.1")


def lines_of_trials(shown, study):
    """The table's line of each trial; every value that was tried, and what came of it, is in it."""
    by_number = {line.split()[1]: line for line in shown.stdout.splitlines() if line.startswith("│")}
    for trial in study.trials():
        words = by_number[str(trial.number)].split()
        for value in trial.params.values():
            assert (value if isinstance(value, str) else f"{value:.4g}") in words
        assert f"{trial.values[0]:.4f}" in words
    return by_number


@pytest.mark.parametrize("columns", [20, 60, 80, 120, 200])
def test_no_value_is_cut_at_any_width(command, root, columns):  # noqa: F811
    shown = command(*FOUR, *RANGES, "--trials", 3, columns=columns)
    (folder,) = (root / "tiny" / "studies").glob("*/")
    study = load_study(folder)
    for shown in (shown, command("show", recipe=False, columns=columns)):  # noqa: B020
        lines = lines_of_trials(shown, study)
        assert len({len(line) for line in lines.values()}) == 1
        heads = shown.stdout.partition("├")[0].split()
        assert {"trial", "lambda", "margin", "attention", "features", "F"} <= set(heads)
        assert study.name in shown.stdout
        assert "…" not in shown.stdout
        left_out = "not shown, to fit the width: closed/overall" in " ".join(shown.stdout.split())
        assert left_out == (columns < 120)
        assert left_out or {"τ", "time", "overall"} <= set(heads)
        assert (len(lines["0"]) <= columns) == (columns >= 80), "wider than the console sooner than unreadable"


def test_a_trial_that_was_interrupted_is_told_as_such(command, root, monkeypatch):  # noqa: F811
    def run(self, p, log_epoch):
        if p.run.path.name == "001":
            raise Stopped("stopped", 2)
        return Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0)

    monkeypatch.setattr(Workbench, "run", run)
    assert isinstance(command("lambda", "--trials", 3).exception, Stopped)
    shown = command("show", recipe=False).stdout
    assert "1 finished, 1 interrupted" in shown
    assert "running" not in shown
    assert [t["state"] for t in told(command("show", "--json", recipe=False))["trials"]] == ["finished", "interrupted"]
    (lock,) = (root / "tiny" / "studies").glob("*/trials/001/.lock")
    with FileLock(lock):
        assert "1 finished, 1 running" in command("show", recipe=False).stdout


def test_show_writes_what_people_look_at(command, root, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pictures, "save_pictures", save_pictures)
    words = ("lambda", "margin", "attention", "--range", "margin=1:30", "--range", "attention=none,spatial")
    first = told(command(*words, "--trials", 8, "--json"))
    shown = told(command("show", "--json", recipe=False))
    files = shown.pop("files")
    assert shown == first
    assert shown["objective"] == "open/f_measure"
    assert set(shown["importance"]) == {"params.lambda", "params.margin", "params.attention"}
    assert sum(shown["importance"].values()) == pytest.approx(1)
    assert shown["best"]["value"] == max(t["value"] for t in shown["trials"] if t["value"] is not None)
    names = ["best.toml", "history.png"] + [f"slice-params.{k}.png" for k in ("attention", "lambda", "margin")]
    (folder,) = (root / "tiny" / "studies").glob("*/")
    assert files == [str(folder / name) for name in names]
    for name in names[1:]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = command("show", recipe=False)
    assert "importance: params." in text.stdout
    assert "history.png" in text.stderr.replace("\n", "")


def test_the_key_that_matters_matters_most(ask, root, monkeypatch):  # noqa: F811
    import optuna
    from optuna.distributions import FloatDistribution

    quick(monkeypatch, lambda values, epoch: 0.5)
    study = search(ask(total=1, ranges=("lambda=0.001:1:log", "margin=1:30")), QUIET)
    space = {d.key: FloatDistribution(d.low, d.high, log=d.log) for d in study.about.space}
    sampler = optuna.samplers.RandomSampler(seed=0)
    study.study.sampler = sampler
    for _ in range(60):
        trial = study.study.ask(space)
        study.study.tell(trial, 1 - abs(trial.params["params.margin"] - 10) / 30)
    shares = importance(study)
    assert shares["params.margin"] > 0.8
    assert list(shares) == ["params.margin", "params.lambda"]


def test_pictures_say_what_they_show(ask, root, monkeypatch):  # noqa: F811
    def judge(values, epoch):
        if epoch == 1 and 0.1 < values["lambda"] < 0.3:
            raise OltrError("no")
        return 0.1 * epoch - values["lambda"] / 3

    quick(monkeypatch, judge)
    study = search(ask(total=14, sets=["train.epochs=6"]), QUIET)
    states = {t.state.name for t in study.trials()}
    assert states == {"COMPLETE", "PRUNED", "FAIL"}
    figure = pictures.history(study)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["trial"].get_xdata()) == numbers(study)
    assert list(lines["cut short"].get_xdata()) == numbers(study, "PRUNED")
    assert list(lines["failed"].get_xdata()) == numbers(study, "FAIL")
    rising = list(lines["best so far"].get_ydata())
    assert rising == sorted(rising)
    assert rising[-1] == study.best().values[0]
    slice_ = pictures.slice_of(study, study.about.space[0]).axes[0]
    assert slice_.get_xscale() == "log"
    assert slice_.get_xlabel() == "params.lambda (log scale)"
    dots = {line.get_label(): line for line in slice_.get_lines()}["trial"]
    assert sorted(dots.get_xdata()) == sorted(
        t.params["params.lambda"] for t in study.trials() if t.number in numbers(study)
    )
    low, high = slice_.get_ylim()
    assert high - low > 0.02


def test_a_study_is_named_by_a_part(command, root):  # noqa: F811
    for seed in (0, 1):
        command("focal", "--trials", 1, "--set", f"params.gamma={seed + 1}")
    command("lambda", "--trials", 1)
    assert told(command("show", "lambda", "--json", recipe=False))["method"] == "dme"
    assert told(command("show", "--json", recipe=False))["method"] == "dme", "the newest"
    result = command("show", "focal", recipe=False)
    assert "'focal' matches 2 studies: tiny/focal-gamma-" in str(result.exception)
    result = command("show", "fokal", recipe=False)
    assert "no study 'fokal'" in str(result.exception)
    runner = CliRunner()
    app = typer.Typer()
    app.command()(ls)
    listed = json.loads(runner.invoke(app, ["studies", "--json"]).stdout)["studies"]
    assert [row["trials"] for row in listed] == [1, 1, 1]
    assert listed[0]["name"].startswith("tiny/dme-lambda-")
    assert listed[0]["best"].startswith("open/f_measure = ")


def test_failures_are_told_with_their_reason(command, root, monkeypatch):  # noqa: F811
    def judge(values, epoch):
        if values["lambda"] != 0.01:
            raise OltrError("[red]too much[/] of it")
        return 0.5

    quick(monkeypatch, judge)
    shown = command("lambda", "--trials", 3)
    assert "trial 1 failed: [red]too much[/] of it" in shown.stdout
    assert "failed: [red]too much[/] of it" in shown.stderr


def test_nothing_finished_is_told(command, root, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Workbench, "run", lambda self, p, log: Outcome({"open/f_measure": 0.5}, 0.1, 1, 1, 1.0))
    result = command("lambda", "--trials", 1, "--timeout", "0")
    assert "no trial yet" in result.stdout
    assert "oltr run" not in result.stderr
    (folder,) = (root / "tiny" / "studies").glob("*/")
    (folder / "trials").mkdir()
    assert isinstance(command("show", recipe=False).exception, DataProblem)


def test_oltr_itself_does_not_import_optuna_for_help():
    import subprocess

    code = (
        "import sys\nfrom oltr_cli.app import app\n"
        "try:\n    app(['tune', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'optuna', 'mlflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- thresholds of a table


def test_the_thresholds_of_a_table(tmp_path, monkeypatch):
    """Of the runs that the table shows, by the current recipe, and of no others."""
    runs = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(runs))
    shown = []
    for method in ("plain", "dme"):
        run_hash = plan(method, "glyphs-lt", [], 0)[-1].link.hash
        shown += [make_run(runs, "glyphs-lt", method, seed, run_hash) for seed in (0, 1)]
    other = make_run(runs, "glyphs-lt", "dme", 0, "0000000000")
    apart = make_run(runs, "elsewhere", "dme", 0)
    result = tune("threshold", "--table", "3a", "--dataset", "glyphs-lt", "--trials", 3, "--json")
    assert sorted(one["run"] for one in told(result)["runs"]) == sorted(run.name for run in shown)
    assert all(read_json(run.path / "threshold.json")["rule"] == "val_open" for run in shown)
    assert not (other.path / "threshold.json").exists()
    assert not (apart.path / "threshold.json").exists()
    assert "oltr compare --table 3a --dataset glyphs-lt --threshold tuned" in result.stderr.replace("\n", " ")
    result = tune("threshold", "--table", "3a", "-d", "glyphs-lt", "--method", "plain", "--trials", 3, "--json")
    assert {one["run"].split("/")[1] for one in told(result)["runs"]} == {"plain"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "3a"], "table 3a shows no finished run on imagenet-lt; train them: oltr compare --table 3a"),
        (["--table", "9"], "no table '9'"),
        (["--table", "3a", "--run", "x"], "--run already names one run; leave out --table"),
        (["--recipe", "x.toml"], "--recipe only applies to --table; add --table"),
    ],
)
def test_tables_without_runs(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    assert message in str(tune("threshold", *arguments).exception)


# --- MLflow


def test_trials_are_nested_below_the_studys_run(ask, root, monkeypatch):  # noqa: F811
    from mlflow import MlflowClient

    from oltr_cli.tracking.tracker import tracking_uri

    for name in ("MLFLOW_TRACKING_URI", "OLTR_TRACKING"):
        monkeypatch.delenv(name, raising=False)

    def judge(values, epoch):
        if values["lambda"] != 0.01:
            raise OltrError("no")
        return 0.25

    quick(monkeypatch, judge)
    search(ask(total=1, track=True), QUIET)
    study = search(ask(total=2, track=True), QUIET)
    client = MlflowClient(tracking_uri=tracking_uri(root))
    (experiment,) = [e for e in client.search_experiments() if e.name == "tiny"]
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = found.pop(f"study {study.about.name}")
    assert set(found) == {"trial 000", "trial 001"}, "one run of the study for both commands"
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/open/f_measure"] == 0.25
    assert parent.data.params["params.lambda"] == "0.001:1:log"
    assert found["trial 000"].info.status == "FINISHED"
    assert found["trial 001"].info.status == "FAILED"
    assert found["trial 000"].data.metrics["val/open/f_measure"] == 0.25
    assert found["trial 000"].data.metrics["threshold"] == 0.25
    assert found["trial 000"].data.params["params.lambda"] == "0.01"
    assert [len(client.get_metric_history(found["trial 000"].info.run_id, "val/closed/overall"))] == [3]
    kept = client.list_artifacts(parent.info.run_id, study.about.name)
    assert [file.path.rpartition("/")[2] for file in kept] == ["best.toml"]


def test_a_store_that_is_down_costs_no_trial(ask, root, monkeypatch):  # noqa: F811
    quick(monkeypatch, lambda values, epoch: 0.25)
    monkeypatch.delenv("OLTR_TRACKING", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("oltr_cli.tracking.tracker.SERVER_PATIENCE", 0.1)
    monkeypatch.setattr("oltr_cli.tracking.tracker.FAILED_PATIENCE", 0.1)
    assert numbers(search(ask(total=2, track=True), QUIET)) == [0, 1]
