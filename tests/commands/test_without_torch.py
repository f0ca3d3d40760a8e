"""Commands that compute nothing start without torch, which takes seconds to import."""

import subprocess
import sys

import pytest

from tests.helpers.fake_runs import make_run

# One process that has imported what the commands share, and a fork of it for each line.
SCRIPT = """
import os, sys
import oltr_cli.planning.plan, oltr_cli.protocol.evaluate
from oltr_cli.app import main
for line in sys.argv[1:]:
    if (child := os.fork()):
        os.waitpid(child, 0)
        continue
    sys.argv = ["oltr", *line.split()]
    code = None
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    heavy = sorted({"torch", "torchvision", "mlflow", "optuna"} & set(sys.modules))
    print("ended:", line, code, heavy, file=sys.stderr, flush=True)
    os._exit(0)
"""
LINES = {
    "show dme": 0,
    "show energy": 0,
    "show glyphs-lt": 0,
    "ls methods": 0,
    "ls backbones": 0,
    "ls runs": 0,
    "run dme --dry-run": 0,
    "run dme --detector energy --dry-run": 0,
    "compare --table 3a --dataset glyphs-lt": 0,
    "compare --table 3a --dataset glyphs-lt --format tex": 0,
    "evaluate glyphs-lt/plain": 0,
    "figure --help": 0,
    "data store ls": 0,
    "run dme --dataset nope": 2,
    "run dme --set train.epoch=3": 2,
    "run dme --set backbone.stem=huge": 2,
    "run dmee": 2,
    "predict nope photo.jpg": 2,
    "export nope": 2,
    "serve nope": 2,
    "data active nope photos": 2,
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How each line ended, below what it said."""
    home = tmp_path_factory.mktemp("home")
    make_run(home / "runs", "glyphs-lt", "plain")
    make_run(home / "runs", "glyphs-lt", "dme")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "OLTR_RUNS": str(home / "runs")}
    command = [sys.executable, "-c", SCRIPT, *LINES]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("line", LINES)
def test_no_torch(ended, line):
    assert f"ended: {line} {LINES[line]} []" in ended.splitlines(), ended
