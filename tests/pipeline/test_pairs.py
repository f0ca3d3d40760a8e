"""Detectors on finished runs and methods on saved features, through the command line on real image files."""

import json
import subprocess

import numpy as np
import pytest

from oltr_cli.runs.scores import SavedScores
from tests.helpers.outcomes import assert_equal, outcome_of, run_dir, wait_for
from tests.helpers.own_method import MINE


def result_of(done):
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_data, tiny_recipe):
    """Runs of plain and crt that the tests of this file may add detectors to."""
    from tests.helpers.tiny import Oltr

    oltr = Oltr(tmp_path_factory.mktemp("trained") / "runs", tiny_data)
    oltr("run", "crt", "--recipe", tiny_recipe, "--workers", 0)
    return oltr


def test_a_feature_method_scores_what_its_network_would(trained, tiny_recipe):
    plain, crt = run_dir(trained, "plain"), run_dir(trained, "crt")
    train = SavedScores.load(plain / "scores" / "train.npz")
    assert len(train) == 45  # the training set's scores were made on demand
    saved = SavedScores.load(crt / "scores" / "test.npz")
    np.testing.assert_array_equal(saved.features, SavedScores.load(plain / "scores" / "test.npz").features)
    done = trained("run", "crt", "--recipe", tiny_recipe, "--detector", "odin", "--set", "detector.epsilon=0", "--json")
    judged = SavedScores.load(trained.runs / result_of(done)["run"] / "scores" / "test.npz")
    # ODIN runs the whole network on images; without a perturbation its predictions are those made from features.
    assert (judged.prediction == saved.prediction).all()


def test_a_feature_method_never_reads_an_image(trained, tiny_recipe, tmp_path):
    """With plain finished and its training scores there, seconds suffice and no image need exist."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(trained.env["OLTR_DATA"], data)
    for image in data.rglob("*.png"):
        image.write_bytes(b"")
    done = trained("run", "lws", "--recipe", tiny_recipe, "--json", OLTR_DATA=str(data))
    assert result_of(done)["status"] == "done"


@pytest.mark.parametrize(
    "detector", ["msp", "maxlogit", "energy", "knn", "mahalanobis", "vim", "openmax", "react", "combined"]
)
def test_any_detector_on_any_trained_method(trained, tiny_recipe, detector):
    for method in ("plain", "crt"):
        done = trained("run", method, "--recipe", tiny_recipe, "--detector", detector, "--json")
        result = result_of(done)
        assert result["method"] == f"{method}+{detector}"
        assert result["detector"]["name"] == detector
        assert result["detector"]["tuned_on_open"] is False
        assert result["epochs"] == 0
        assert result["starts_from"].startswith(f"tiny/{method}/")
        assert result["epochs_total"] == {"plain": 3, "crt": 5}[method]
        again = trained("run", method, "--recipe", tiny_recipe, "--detector", detector, "--json")
        assert result_of(again) == result
        assert "is finished" in again.stderr


def test_msp_is_what_the_run_itself_says(trained, tiny_recipe):
    done = trained("run", "plain", "--recipe", tiny_recipe, "--detector", "msp", "--json")
    own = json.loads((run_dir(trained, "plain") / "result.json").read_text())
    for name, value in result_of(done)["metrics"].items():
        if name.startswith(("closed/ece", "closed/brier")):  # a detector saves no logits
            assert value is None
            continue
        assert value == pytest.approx(own["metrics"][name], abs=1e-6), name


def test_odin_tuned_on_open_validation_is_marked(trained, tiny_recipe):
    command = ("run", "plain", "--recipe", tiny_recipe, "--detector", "odin", "--set", "detector.tune=true")
    result = result_of(trained(*command, "--json"))
    assert result["detector"]["tuned_on_open"] is True
    assert "†" in trained(*command).stdout
    plain = result_of(trained("run", "plain", "--recipe", tiny_recipe, "--detector", "odin", "--json"))
    assert plain["hash"] != result["hash"]
    assert plain["detector"]["tuned_on_open"] is False


def test_the_papers_row_trains_range_first(oltr, tiny_recipe):
    result = result_of(oltr("run", "openmax", "--recipe", tiny_recipe, "--json", "--set", "detector.tail=3"))
    assert result["method"] == "range+openmax"
    assert result["detector"]["params"]["tail"] == 3
    assert {path.name for path in (oltr.runs / "tiny").iterdir()} == {"plain", "range", "range+openmax"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("energy",), "add it to a method"),
        (("plain", "--detector", "dme"), "is not METHOD+DETECTOR"),
        (("plain", "--set", "detector.k=3"), "add --detector"),
        (("plain", "--detector", "knn", "--set", "detector.kk=3"), "did you mean 'k'"),
        (("plain", "--detector", "knn", "--set", "detector.k=-3"), "detector.k"),
    ],
)
def test_usage_of_detectors(oltr, tiny_recipe, arguments, words):
    done = oltr("run", *arguments, "--recipe", tiny_recipe, "--dry-run", check=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_detector_of_the_linear_classifier_is_refused_on_a_cosine_classifier(trained, tiny_recipe):
    done = trained("run", "fslwf", "--recipe", tiny_recipe, "--detector", "fdbd", check=2)
    assert "fdbd needs a linear classifier" in done.stderr
    assert "use energy, gen, knn or relative-mahalanobis instead" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_what_cannot_be_combined_is_refused_before_anything_is_trained(oltr, tiny_recipe):
    command = ("run", "plain", "--recipe", tiny_recipe, "--detector", "combined", "--set", "detector.second=energie")
    done = oltr(*command, check=2)
    assert "did you mean 'energy'" in done.stderr
    assert not list(oltr.runs.rglob("last.pt"))


@pytest.mark.parametrize("method", ["crt", "fslwf"])
def test_a_stopped_feature_method_goes_on_to_the_same_bits(trained, oltr, tiny_recipe, method):
    """SIGTERM in the middle, the same command again: as if nothing had happened."""
    import signal

    longer = ("run", method, "--recipe", tiny_recipe, "--set", "train.epochs=80", "--workers", 0)
    done = trained(*longer, "--json")
    name = result_of(done)["run"].split("/")[-1]
    process = oltr.start(*longer)
    folder = oltr.runs / "tiny" / method / name
    wait_for(lambda: (folder / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not (folder / "result.json").exists()
    oltr(*longer)
    expected = outcome_of(trained.runs / "tiny" / method / name)
    assert_equal(outcome_of(folder), expected)


def test_a_method_that_trains_nothing(trained, tiny_recipe):
    result = result_of(trained("run", "tau-norm", "--recipe", tiny_recipe, "--json"))
    assert result["epochs"] == 0
    assert result["epochs_total"] == 3
    assert result["metrics"]["closed/overall"] is not None


def test_an_added_method_runs_is_listed_and_compared(oltr, tiny_recipe, tmp_path):
    mine = tmp_path / "my_own.py"
    mine.write_text(MINE)
    broken = tmp_path / "bad.py"
    broken.write_text("class Bad(Method:\n")
    done = oltr("run", "my-own", "--recipe", tiny_recipe, "--methods-from", mine, "--methods-from", broken, "--json")
    assert result_of(done)["method"] == "my-own"
    listed = json.loads(oltr("ls", "methods", "--json", "--methods-from", mine).stdout)["methods"]
    row = next(row for row in listed if row["name"] == "my-own")
    assert (row["origin"], row["measured"]) == ("file", {"tiny": 1})
    assert "Mine: sharper logits" in oltr("show", "my-own", "--methods-from", mine).stdout
    failed = oltr("run", "bad", "--recipe", tiny_recipe, "--methods-from", broken, check=2)
    assert "line 1" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_fault_of_an_added_method_costs_its_own_row_only(oltr, tiny_recipe, tmp_path):
    faulty = tmp_path / "faulty.py"
    faulty.write_text(MINE.replace('return {"sharp"', 'raise TypeError("of its own")\n        return {"sharp"'))
    options = ("--recipe", tiny_recipe, "--methods-from", faulty)
    done = oltr("compare", *options, "--methods", "faulty,tau-norm", "--run", "--json", check=1)
    rows = {row["method"]: row["status"] for row in json.loads(done.stdout)["rows"]}
    assert rows == {"faulty": "missing", "tau-norm": "measured"}
    where = f"{faulty}, line 16, in training_loss: TypeError: of its own"
    assert f"failed: faulty, seed 0: {where}" in done.stderr
    assert "Traceback" not in done.stderr
    # With loading processes, which must not keep it from ending: a fresh interpreter, for the end is the point.
    command = oltr.command("run", "faulty", *options)
    alone = subprocess.run(command, env=oltr.env, capture_output=True, text=True, timeout=240)
    assert alone.returncode == 1
    assert alone.stderr.splitlines()[-1] == f"error: {where}; OLTR_TRACEBACK=1 shows the traceback"


def test_confidences_that_are_no_probabilities_have_a_rule_of_their_own(trained, tiny_recipe):
    run = ("run", "plain", "--recipe", tiny_recipe, "--json", "--detector")
    assert result_of(trained(*run, "knn"))["threshold"]["rule"] == "id_quantile:0.95"
    assert result_of(trained(*run, "openmax"))["threshold"]["rule"] == "fixed:0.1"


def test_training_scores_leave_out_what_training_replaces(oltr, tiny_recipe, own_tiny_data):
    """One image of 45 that cannot be decoded would be above the limit in training; scoring alone passes it by."""
    oltr("run", "plain", "--recipe", tiny_recipe, OLTR_DATA=str(own_tiny_data))
    (own_tiny_data / "tiny" / "train" / "c0" / "3.png").write_bytes(b"no image")
    done = oltr("run", "plain", "--recipe", tiny_recipe, "--detector", "knn", "--json", OLTR_DATA=str(own_tiny_data))
    assert result_of(done)["status"] == "done"
    train = SavedScores.load(run_dir(oltr, "plain") / "scores" / "train.npz")
    assert len(train) == 44
    assert "train/c0/3.png" not in train.paths
