"""Commands that compute nothing start without torch, which takes seconds to import."""

import subprocess
import sys

import pytest

from tests.helpers.fake_runs import make_run

SCRIPT = """
import sys
from oltr_cli.app import main
sys.argv = ["oltr", *sys.argv[1:]]
try:
    main()
except SystemExit as leaving:
    print(leaving.code, sorted({"torch", "torchvision", "mlflow", "optuna"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("show dme", 0),
        ("show energy", 0),
        ("show glyphs-lt", 0),
        ("ls methods", 0),
        ("ls backbones", 0),
        ("ls runs", 0),
        ("run dme --dry-run", 0),
        ("run dme --detector energy --dry-run", 0),
        ("compare --table 3a --dataset glyphs-lt", 0),
        ("compare --table 3a --dataset glyphs-lt --format tex", 0),
        ("evaluate glyphs-lt/plain", 0),
        ("figure --help", 0),
        ("data store ls", 0),
        ("run dme --dataset nope", 2),
        ("run dme --set train.epoch=3", 2),
        ("run dme --set backbone.stem=huge", 2),
        ("run dmee", 2),
    ],
)
def test_no_torch(words, code, tmp_path):
    make_run(tmp_path / "runs", "glyphs-lt", "plain")
    make_run(tmp_path / "runs", "glyphs-lt", "dme")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OLTR_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words.split()], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == f"{code} []"
