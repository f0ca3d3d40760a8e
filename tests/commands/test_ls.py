"""``oltr ls``: what is listed where something is damaged."""

import json

import typer
from typer.testing import CliRunner

from oltr_cli.base import added_files
from oltr_cli.commands.ls import ls
from tests.helpers.fake_runs import a_failure, make_run


def command(*arguments: str):
    app = typer.Typer()
    app.command()(ls)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_a_damaged_run_has_its_own_line(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    whole, damaged, failed = (make_run(tmp_path / "runs", "mine", method) for method in ("plain", "dme", "range"))
    (damaged.path / "result.json").write_text("{")
    a_failure(failed).write(failed.path)
    rows = {row["name"]: row for row in json.loads(command("runs", "--json"))["runs"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        whole.name: "done",
        damaged.name: "damaged",
        failed.name: "failed",
    }
    assert rows[whole.name]["open/f_measure"] == whole.result().metrics["open/f_measure"]
    assert rows[damaged.name]["open/f_measure"] is None
    assert "damaged" in command("runs")
    measured = {row["name"]: row["measured"] for row in json.loads(command("methods", "--json"))["methods"]}
    assert (measured["plain"], measured["dme"], measured["range"]) == ({"mine": 1}, {}, {})


def test_runs_of_one_method_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    make_run(tmp_path / "runs", "mine", "plain")
    assert "differs" not in command("runs")
    for run_hash, epochs in (("aaaaaaaaaa", 3), ("bbbbbbbbbb", 6)):
        run = make_run(tmp_path / "runs", "mine", "dme", run_hash=run_hash)
        (run.path / "recipe.toml").write_text(f'method = "dme"\n[train]\nepochs = {epochs}\nbatch_size = 8\n')
    rows = json.loads(command("runs", "--json"))["runs"]
    assert [row["differs"] for row in rows] == [{"train.epochs": 3}, {"train.epochs": 6}, {}]
    assert all(row["date"][:2] == "20" for row in rows)
    lines = command("runs").splitlines()
    assert any("dme/bbbbbbbbbb" in line and "train.epochs=6" in line for line in lines)


def test_what_is_added_and_cannot_be_used_is_listed_as_broken(tmp_path, no_files):
    files = {
        "net_ok": "from oltr_cli.networks.backbones import Backbone\nclass Net(Backbone):\n"
        "    def compute_map(self, images): ...\n    def map_size(self, image_size): ...\n",
        "net_bad": "import nowhere_to_be_found\nclass Net(Backbone): pass\n",
        "method_bad": "from oltr_cli.method import LinearMethod\nclass Mine(LinearMethod): pass\n",
        "detector_bad": "1 / 0\nclass Mine(Detector): pass\n",
        "unclosed": "class Mine(",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
        added_files.add_file(tmp_path / f"{name}.py")
    nets = {row["name"]: row for row in json.loads(command("backbones", "--json"))["backbones"]}
    wrong = {"resnet10": False, "net-ok": False, "net-bad": True, "unclosed": True}
    assert {name: nets[name]["broken"] for name in wrong} == wrong
    assert "line 1: No module named 'nowhere_to_be_found'" in nets["net-bad"]["summary"]
    rows = {row["name"]: row for row in json.loads(command("methods", "--json"))["methods"]}
    for name, says in (
        ("method-bad", "lacks training_loss"),
        ("detector-bad", "line 1: ZeroDivision"),
        ("unclosed", ""),
    ):
        assert rows[name]["family"] == "broken"
        assert says in rows[name]["summary"]
    assert rows["plain"]["family"] != "broken"
