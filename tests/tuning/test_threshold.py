"""``oltr tune threshold``: the exact optimum, the study beside it, and that the test set is never looked at."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.base.files import read_json
from oltr_cli.commands.tune import tune_app
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.protocol.evaluate import evaluate_run
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.fill import TUNED_TAU, fill
from oltr_cli.tuning.threshold import JOURNAL, tune_threshold, tuning_rule
from tests.helpers.fake_runs import CLASS_COUNTS, edit_result, make_run

VAL_OPEN = ThresholdRule.parse("val_open")
GROUPED = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))  # classes of CLASS_COUNTS by shot group


def naive_f_measure(known: SavedScores, open_: SavedScores, tau: float) -> float:
    """By the definition, a sample at a time."""
    tp = fp = fn = 0
    for label, prediction, confidence in zip(known.labels, known.prediction, known.confidence, strict=True):
        right = prediction == label and not confidence < np.float32(tau)
        tp, fp = tp + right, fp + (not right)
    for confidence in open_.confidence:
        fn += not confidence < np.float32(tau)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


@pytest.fixture
def run(tmp_path):
    """A finished run without any scores of the test set: whoever wants to read them fails."""
    made = make_run(tmp_path / "runs", "glyphs-lt", "dme")
    made.scores("test").unlink()
    made.scores("open").unlink()
    return made


def splits(run):
    return SavedScores.load(run.scores("val")), SavedScores.load(run.scores("open_val"))


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_of_all_thresholds(tmp_path, seed):
    run = make_run(tmp_path, "glyphs-lt", "dme", seed, skill=1.0 + seed / 2)
    val, open_val = splits(run)
    observed = np.unique(np.concatenate([val.confidence, open_val.confidence]))
    assert len(observed) < len(val) / 2, "confidences must tie"
    every = [0.0, *map(float, observed), 2.0]
    best = max(naive_f_measure(val, open_val, tau) for tau in every)
    tuned = tune_threshold(run, VAL_OPEN, trials=12)
    assert tuned.f_measure_val == pytest.approx(best, abs=1e-12)
    assert naive_f_measure(val, open_val, tuned.value) == pytest.approx(best, abs=1e-12)
    assert tuned.study is not None
    assert tuned.study.f_measure <= tuned.f_measure_val
    assert naive_f_measure(val, open_val, tuned.study.tau) == pytest.approx(tuned.study.f_measure, abs=1e-12)


def test_tuning_never_needs_the_test_set(run):
    assert tune_threshold(run, VAL_OPEN, trials=3).f_measure_val is not None
    assert tune_threshold(run, ThresholdRule.parse("id_quantile:0.9")).study is None


def test_test_scores_do_not_change_the_choice(tmp_path):
    run = make_run(tmp_path, "glyphs-lt", "dme")
    before = tune_threshold(run, VAL_OPEN, trials=5)
    for split in ("test", "open"):
        run.scores(split).write_bytes(b"garbage")
    assert tune_threshold(run, VAL_OPEN, trials=5) == before


def test_asking_again_adds_no_trials_and_asking_for_more_adds_the_difference(run):
    first = tune_threshold(run, VAL_OPEN, trials=8)
    journal = (run.path / JOURNAL).read_bytes()
    again = tune_threshold(run, VAL_OPEN, trials=8)
    assert again == first
    assert (run.path / JOURNAL).read_bytes() == journal
    assert tune_threshold(run, VAL_OPEN, trials=5).study.trials == 8
    more = tune_threshold(run, VAL_OPEN, trials=13)
    assert more.study.trials == 13
    assert more.study.f_measure >= first.study.f_measure
    assert (run.path / JOURNAL).read_bytes().startswith(journal)


def test_resumed_trials_ask_new_questions(run):
    import optuna

    for trials in (4, 8):
        name = tune_threshold(run, VAL_OPEN, trials=trials).study.name
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(run.path / JOURNAL)))
    asked = [trial.params["tau"] for trial in optuna.load_study(study_name=name, storage=storage).trials]
    assert len(asked) == 8
    assert len(set(asked)) == 8


def test_the_study_of_equal_scores_is_equal(tmp_path):
    studies = [tune_threshold(make_run(tmp_path / f"{i}", "glyphs-lt", "dme"), VAL_OPEN, 10).study for i in (0, 1)]
    assert studies[0] == studies[1]


def test_a_journal_cut_off_by_a_kill_is_gone_on_with(run):
    tune_threshold(run, VAL_OPEN, trials=6)
    journal = run.path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-7])
    assert tune_threshold(run, VAL_OPEN, trials=10).study.trials == 10
    assert tune_threshold(run, VAL_OPEN, trials=10).study.trials == 10
    for line in journal.read_text().splitlines():
        json.loads(line)


def test_a_journal_that_is_none_is_named(run):
    (run.path / JOURNAL).write_text("not\na journal\n")
    with pytest.raises(DataProblem, match=r"threshold\.journal: is not a journal of studies .* remove it"):
        tune_threshold(run, VAL_OPEN, trials=2)


def test_infinite_confidences_are_refused(run):
    scores = SavedScores.load(run.scores("val"))
    confidence = scores.confidence.copy()
    confidence[3] = np.inf
    SavedScores(scores.prediction, confidence, scores.labels).save(run.scores("val"))
    with pytest.raises(DataProblem, match="infinite"):
        tune_threshold(run, VAL_OPEN, trials=2)


def test_the_choice_is_kept_where_evaluate_and_compare_find_it(tmp_path):
    root = tmp_path / "runs"
    run = make_run(root, "glyphs-lt", "dme")
    rule = ThresholdRule.parse("tuned")
    with pytest.raises(UsageProblem, match="oltr tune threshold"):
        evaluate_run(run.path, rule)
    tuned = tune_threshold(run, VAL_OPEN, trials=4)
    saved = read_json(run.path / "threshold.json")
    assert saved == {
        "rule": "val_open",
        "value": tuned.value,
        "f_measure_val": tuned.f_measure_val,
        "study": "glyphs-lt/dme/0123456789-s0 val_open",
        "trials": 4,
    }
    evaluated = evaluate_run(run.path, rule)
    assert evaluated.threshold == ChosenThreshold(rule="tuned", value=tuned.value, chosen_by="val_open")
    for asked in (rule, None):
        filled = fill("3a", "glyphs-lt", root=root, rule=asked)
        row = next(r for r in filled.rows if r.method == "dme")
        assert row.thresholds == (tuned.value,)
        assert (TUNED_TAU in filled.notes) == (asked is None)
    own = fill("3a", "glyphs-lt", root=root, rule=ThresholdRule.parse("own"))
    assert next(r for r in own.rows if r.method == "dme").thresholds == (0.1,)
    assert row.thresholds == (tuned.value,)
    assert row.threshold_rule == "tuned, by val_open"
    assert row.cells[7].mean == pytest.approx(evaluated.metrics["open/f_measure"])


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 1.0])
def test_id_quantile_accepts_at_least_the_share_and_no_higher_threshold_does(run, share):
    run.scores("open_val").unlink()  # it needs no open data
    tuned = tune_threshold(run, ThresholdRule.parse(f"id_quantile:{share}"))
    confidence = SavedScores.load(run.scores("val")).confidence
    assert np.mean(confidence >= np.float32(tuned.value)) >= share
    higher = confidence[confidence > np.float32(tuned.value)]
    assert not len(higher) or np.mean(confidence >= higher.min()) < share
    assert (tuned.f_measure_val, tuned.study) == (None, None)
    saved = read_json(run.path / "threshold.json")
    assert (saved["rule"], saved["value"]) == (f"id_quantile:{share}", tuned.value)
    assert not (run.path / JOURNAL).exists()


def test_id_quantile_says_the_f_measure_where_open_validation_exists(run):
    tuned = tune_threshold(run, ThresholdRule.parse("id_quantile:0.95"))
    assert tuned.f_measure_val == pytest.approx(naive_f_measure(*splits(run), tuned.value), abs=1e-12)


@pytest.mark.parametrize("split", ["val", "open_val"])
def test_a_missing_split_is_named_and_nothing_is_written(run, split):
    run.scores(split).unlink()
    with pytest.raises(DataProblem, match=rf"dme/0123456789-s0: .*no scores of {split};"):
        tune_threshold(run, VAL_OPEN)
    assert not (run.path / "threshold.json").exists()


def test_scores_that_are_all_the_same(run):
    """One confidence, one threshold that matters: accept everything."""
    for split in ("val", "open_val"):
        scores = SavedScores.load(run.scores(split))
        constant = np.full(len(scores), 0.25, np.float32)
        SavedScores(scores.prediction, constant, scores.labels).save(run.scores(split))
    tuned = tune_threshold(run, VAL_OPEN, trials=3)
    assert tuned.f_measure_val == pytest.approx(naive_f_measure(*splits(run), 0.0))
    assert tuned.f_measure_val > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oracle_test", "oracle_test reads the test set, which tuning must not"),
        ("fixed:0.1", "leaves nothing to tune"),
        ("tuned", "leaves nothing to tune"),
        ("val_opne", "did you mean 'val_open'"),
        ("foo", "'foo' is neither a number nor a rule; known: "),
        ("0.5", r"leaves nothing to tune; .* oltr evaluate RUN --threshold fixed:0\.5$"),
    ],
)
def test_rules_that_cannot_be_tuned_are_refused(text, message):
    with pytest.raises(UsageProblem, match=message):
        tuning_rule(text)


def lenient(run):
    """Make rejecting nothing the best on validation: no open image is more confident than a known one is."""
    for split, confidence in (("val", 0.25), ("open_val", 0.5)):
        scores = SavedScores.load(run.scores(split))
        SavedScores(scores.prediction, np.full(len(scores), confidence, np.float32), scores.labels).save(
            run.scores(split)
        )


def test_a_choice_that_rejects_nothing_says_so(run):
    assert not tune_threshold(run, VAL_OPEN, trials=2).rejects_nothing
    lenient(run)
    tuned = tune_threshold(run, VAL_OPEN, trials=2)
    assert tuned.value == 0.0
    assert tuned.rejects_nothing
    assert not tune_threshold(run, ThresholdRule.parse("id_quantile:1.0")).rejects_nothing, "it was asked for"


# --- the command


def command(*arguments: str, columns: int = 120):
    app = typer.Typer()
    app.add_typer(tune_app, name="tune")
    return CliRunner().invoke(app, ["tune", "threshold", *arguments], env={"COLUMNS": str(columns)})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    for method, seed in (("dme", 0), ("dme", 1), ("plain", 0)):
        make_run(root, "glyphs-lt", method, seed)
    make_run(root, "elsewhere", "dme", 0)
    unfinished = make_run(root, "glyphs-lt", "dme", 2)
    (unfinished.path / "result.json").unlink()
    return root


def test_command_tunes_all_finished_runs_of_the_default_dataset(runs):
    shown = command("--trials", "3", "--json")
    assert shown.exit_code == 0
    told = json.loads(shown.stdout)
    assert told["rule"] == "val_open"
    names = [f"glyphs-lt/{name}" for name in ("dme/0123456789-s0", "dme/0123456789-s1", "plain/0123456789-s0")]
    assert [one["run"] for one in told["runs"]] == names
    for one in told["runs"]:
        assert read_json(runs / one["run"] / "threshold.json")["value"] == one["value"]
        assert one["study"]["trials"] == 3
    assert sorted(runs.glob("*/*/*/threshold.json")) == sorted(runs / name / "threshold.json" for name in names)
    assert "oltr evaluate glyphs-lt/plain/0123456789-s0" in shown.stderr.replace("\n", "")


def test_command_shows_exact_and_searched_side_by_side(runs):
    shown = command("--run", "plain/0123456789-s0", "--trials", "3")
    saved = read_json(runs / "glyphs-lt/plain/0123456789-s0/threshold.json")
    line = next(line for line in shown.stdout.splitlines() if "glyphs-lt/plain" in line)
    assert f"{saved['value']:.4f}" in line
    assert f"{saved['f_measure_val']:.4f}" in line
    assert line.split()[-2] == "3"
    assert len(list(runs.glob("*/*/*/threshold.json"))) == 1


@pytest.mark.parametrize("columns", [20, 60, 80, 120])
def test_names_of_runs_are_whole_at_any_width(runs, columns):
    name = "tiny-imagenet-lt/metamodelnet+mahalanobis/0123456789-s0"
    make_run(runs, *name.split("/")[:2])
    shown = command("--dataset", "tiny-imagenet-lt", "--trials", "2", columns=columns)
    saved = read_json(runs / name / "threshold.json")
    (line,) = (line for line in shown.stdout.splitlines() if name in line)
    assert {f"{saved['value']:.4f}", f"{saved['f_measure_val']:.4f}"} <= set(line.split())
    assert ("trials" in shown.stdout) == (columns == 120)
    assert ("Optuna's τ: --json" in shown.stdout) == (columns < 120)
    assert "…" not in shown.stdout


@pytest.mark.parametrize("rule", ["group_quantile:0.9", "class_quantile:0.9"])
def test_a_threshold_for_each_group_or_class_and_what_it_costs(runs, rule):
    run = Run(runs, "glyphs-lt", "plain", "0123456789", 0)
    shown = command("--run", "glyphs-lt/plain", "--rule", rule, "--json")
    (told,) = json.loads(shown.stdout)["runs"]
    val, open_val = splits(run)
    for label in range(len(CLASS_COUNTS)):
        cell = [label] if rule.startswith("class") else next(group for group in GROUPED if label in group)
        members = np.sort(val.confidence[np.isin(val.prediction, cell)])
        assert len(members) >= 10
        assert (members >= np.float32(told["by_class"][label])).mean() >= 0.9
        assert (members > np.float32(told["by_class"][label])).mean() < 0.9
    assert told["open_accepted"] == np.mean(open_val.confidence >= np.float32(told["by_class"])[open_val.prediction])
    assert told["open_accepted_one_tau"] == np.mean(open_val.confidence >= np.float32(told["value"]))
    known = SavedScores.load(run.scores("test"))
    kept = known.confidence >= np.float32(told["by_class"])[known.prediction]
    evaluated = evaluate_run(run.path)
    assert evaluated.threshold.by_class == told["by_class"]
    assert evaluated.metrics["open/rejected"] == pytest.approx(1 - kept.mean())
    assert evaluated.open_val_accepted == {
        "by_class": told["open_accepted"],
        "one_tau": told["open_accepted_one_tau"],
    }
    cells = command("--run", "glyphs-lt/plain", "--rule", rule).stdout
    assert f"{100 * told['open_accepted']:.1f}" in cells
    assert f"{100 * told['open_accepted_one_tau']:.1f}" in cells
    assert "Optuna" not in cells


def test_classes_of_too_few_validation_images_are_said(runs):
    shown = command("--run", "glyphs-lt/plain", "--rule", "class_quantile:0.99")
    assert shown.exit_code == 0
    said = " ".join(shown.stderr.split())
    assert "glyphs-lt/plain/0123456789-s0: too few validation images for a τ of their own: " in said
    assert "too few" not in command("--run", "glyphs-lt/plain", "--rule", "class_quantile:0.5").stderr


def test_a_threshold_that_rejects_nothing_is_pointed_out_in_one_line(runs):
    lenient(Run(runs, "glyphs-lt", "plain", "0123456789", 0))
    shown = command("--trials", "2", "--json")
    assert [line for line in shown.stderr.splitlines() if "warning" in line] == [
        "warning: glyphs-lt/plain/0123456789-s0: the best F-measure on validation rejects nothing; "
        "to reject 5 % of the known samples, use --rule id_quantile:0.95"
    ]
    for one in json.loads(shown.stdout)["runs"]:
        assert set(one) == {"run", "rule", "value", "f_measure_val", "study", "open_accepted"}
    assert "warning" not in command("--rule", "id_quantile:1", "--json").stderr


def test_many_such_thresholds_are_one_line_too(runs):
    for seed in range(5):
        lenient(make_run(runs, "elsewhere", "dme", seed))
    (line,) = (line for line in command("-d", "elsewhere", "--trials", "1").stderr.splitlines() if "warning" in line)
    assert "elsewhere/dme/0123456789-s2 and 2 more: the best F-measure" in line


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--method", "dme"], ["glyphs-lt/dme/0123456789-s0", "glyphs-lt/dme/0123456789-s1"]),
        (["--dataset", "elsewhere"], ["elsewhere/dme/0123456789-s0"]),
        (["--run", "elsewhere"], ["elsewhere/dme/0123456789-s0"]),
    ],
)
def test_command_selects_runs(runs, options, names):
    shown = command(*options, "--rule", "id_quantile:0.9", "--json")
    assert [one["run"] for one in json.loads(shown.stdout)["runs"]] == names


def test_command_takes_a_run_by_its_folder(runs, monkeypatch):
    monkeypatch.chdir(runs / "glyphs-lt")
    shown = command("--run", "dme/0123456789-s1", "--rule", "id_quantile:0.9", "--json")
    assert json.loads(shown.stdout)["runs"][0]["run"] == "glyphs-lt/dme/0123456789-s1"


def test_one_run_that_cannot_be_tuned_does_not_stop_the_others(runs):
    (runs / "glyphs-lt/dme/0123456789-s0/scores/open_val.npz").unlink()
    shown = command("--trials", "2", "--json")
    assert [one["run"] for one in json.loads(shown.stdout)["runs"]] == [
        "glyphs-lt/dme/0123456789-s1",
        "glyphs-lt/plain/0123456789-s0",
    ]
    assert isinstance(shown.exception, DataProblem)
    assert "dme/0123456789-s0" in str(shown.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--dataset", "nowhere"],
            "no finished run on nowhere (there are runs on elsewhere, glyphs-lt); train one: oltr run dme",
        ),
        (["--method", "plain", "--dataset", "elsewhere"], "train one: oltr run plain --dataset elsewhere"),
        (["--method", "plian"], "no method 'plian'; did you mean 'plain'"),
        (["--run", "dme/0123456789-s2"], "to finish it first"),
        (["--run", "dme", "--method", "dme"], "leave out --dataset and --method"),
        (["--rule", "oracle_test"], "reads the test set"),
    ],
)
def test_command_refuses_what_does_not_fit(runs, options, message):
    shown = command(*options)
    assert isinstance(shown.exception, OltrError)
    assert shown.exception.exit_code == 2
    assert message in str(shown.exception)
    assert not list(runs.glob("*/*/*/threshold.json"))


def test_runs_of_an_earlier_build_are_left_alone_and_named(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('[data]\nname = "mine"\nlists_digest = "new"\n')
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    for method, digest in (("plain", "new"), ("dme", "old")):
        run = make_run(tmp_path / "runs", "mine", method)
        edit_result(run.path, data_digest=digest)
    done = CliRunner().invoke(tune_app, ["threshold", "--dataset", "mine", "--json", "--trials", "1"])
    assert [one["run"] for one in json.loads(done.stdout)["runs"]] == ["mine/plain/0123456789-s0"]
    assert "earlier build of mine: mine/dme/0123456789-s0" in done.stderr.replace("\n", "")


def test_no_column_stands_for_a_search_that_was_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    make_run(tmp_path / "runs", "mine", "plain")
    options = ["threshold", "--dataset", "mine", "--trials", "1"]
    assert "Optuna" in CliRunner().invoke(tune_app, options).stdout
    assert "Optuna" not in CliRunner().invoke(tune_app, [*options, "--rule", "id_quantile:0.95"]).stdout


def test_plots_that_are_there_are_drawn_again(runs, monkeypatch):
    drawn = []
    monkeypatch.setattr("oltr_cli.drawing.run_plots.save_run_plots", lambda path: drawn.append(path))
    plotted = runs / "glyphs-lt/dme/0123456789-s1"
    (plotted / "plots").mkdir()
    assert command("--trials", "1").exit_code == 0
    assert drawn == [plotted]
