"""The benchmarks run: each prints one line of JSON with tiny sizes, and all.py gathers them beside the machine."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from oltr_cli.planning.registry import list_methods

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_") and p.stem != "all")


def run(name, *words, check=0):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *words], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == check, done.stderr
    return done


@pytest.mark.parametrize("name", SCRIPTS)
def test_one_line_of_json(name):
    (line,) = run(name, "--quick", "--json").stdout.splitlines()
    facts = json.loads(line)
    assert facts["name"] == name
    assert (facts["threads"], facts["wait"], facts["repetitions"]) == (1, "passive", 1)
    assert facts["quick"] is True
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["median"]
    assert all(seconds > 0 for seconds in facts["median"].values())
    assert all(times > 0 for times in facts["ratio"].values())
    assert facts["ratio"] or name == "detectors", "what it is compared with"
    if name == "detectors":  # all that need no network
        detectors = {name for name, info in list_methods().items() if info.kind == "detector"} - {"odin"}
        assert set(facts["median"]) == {f"{one}, {step}" for one in detectors for step in ("fit", "score")}


@pytest.mark.parametrize(("name", "packages"), [("dme_head", {"torch", "numpy"}), ("metrics", {"numpy"})])
def test_threads_are_set_before_the_libraries_start(name, packages):
    """Their thread pools read the environment once, when they are imported."""
    code = f"""
import os, sys
sys.path.insert(0, {str(FOLDER)!r})
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {packages!r}:
            print(name, *(os.environ.get(key) for key in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")))
sys.meta_path.insert(0, Watch())
import {name}
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_"))}
    env["OMP_NUM_THREADS"] = "3"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    seen = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert packages <= set(seen)
    assert set(seen.values()) == {"3 PASSIVE 0"}


def test_fewer_than_nine_repetitions_are_refused():
    assert "at least 9" in run("metrics", "--quick", "--repetitions", "3", check=2).stderr


def test_all_gathers_them_beside_the_machine(tmp_path):
    out = tmp_path / "benchmarks.json"
    run("all", "--quick", "--only", "metrics", "--only", "dme_head", "--out", out)
    text = out.read_text(encoding="utf-8")
    found = json.loads(text)
    assert [facts["name"] for facts in found["benchmarks"]] == ["metrics", "dme_head"]
    assert set(found["machine"]) == {"cpu", "cores", "memory GiB", "system", "load before", "versions"}
    assert found["machine"]["memory GiB"] > 0
    assert platform.node() not in found["machine"].values()
    assert str(FOLDER.parent) not in text


def test_a_benchmark_that_fails_is_named_and_the_others_are_kept(tmp_path):
    """As where libmr is missing: the file says which numbers it lacks."""
    (tmp_path / "libmr.py").write_text("raise ImportError('none')\n")
    out = tmp_path / "benchmarks.json"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, FOLDER / "all.py", "--quick", "--only", "openmax", "--only", "metrics", "--out", out]
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "failed: openmax; what is wrong stands above" in done.stderr
    assert "needs libmr" in done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["failed"] == ["openmax"]
    assert [facts["name"] for facts in found["benchmarks"]] == ["metrics"]
