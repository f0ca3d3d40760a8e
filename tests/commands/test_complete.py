"""What the shell offers after Tab, and that it is quick."""

import os
import subprocess
import sys

import pytest

from oltr_cli.commands import complete
from tests.helpers.fake_runs import make_run

ASK = """
import sys
import oltr_cli.app
try:
    oltr_cli.app.app(prog_name="oltr")
finally:
    sys.stderr.write(str({"torch", "numpy", "mlflow"} & set(sys.modules)))
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    return [
        make_run(tmp_path / "runs", "mine", method, seed) for method, seed in (("dme", 0), ("dme", 1), ("plain", 0))
    ]


def test_names_at_hand_are_offered(runs):
    assert complete.runs("m") == ["mine/dme", "mine/plain"]
    assert complete.runs("mine/dme/") == [run.name for run in runs[:2]]
    assert complete.datasets("mi") == ["mine"]
    assert "glyphs-lt" in complete.datasets("")
    assert complete.methods("dm") == ["dme"]
    assert [name for name, _ in complete.tables("3")][:1] == ["3a"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("oltr run dm", "dme"),
        ("oltr run dme --dataset mi", "mine"),
        ("oltr run dme --detector ener", "energy"),
        ("oltr compare --table 3", "3a"),
        ("oltr compare --methods plain,dm", "plain,dme"),
        ("oltr figure 6 --methods dm", "dme"),
        ("oltr report --methods dm", "dme"),
        ("oltr report --runs mine/p", "mine/plain"),
        ("oltr show mine --method foc", "focal"),
        ("oltr cp glyphs", "glyphs-lt"),
        ("oltr tune dm", "dme"),
        ("oltr tune thr", "threshold"),
        ("oltr tune search foc", "focal"),
        ("oltr tune lambda --method foc", "focal"),
        ("oltr tune threshold --method dm", "dme"),
        ("oltr data check mi", "mine"),
        ("oltr data info mi", "mine"),
        ("oltr data rename mi", "mine"),
        ("oltr data active mine/p", "mine/plain"),
        ("oltr predict mine/p", "mine/plain"),
    ],
)
def test_the_shell_is_answered_without_torch(runs, words, offered):
    env = {
        **os.environ,
        "_OLTR_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, timeout=60)
    assert offered in done.stdout.split(), done.stderr
    assert done.stderr.endswith("set()")
