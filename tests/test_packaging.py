"""A built wheel, unpacked elsewhere and run from another folder, finds methods, recipes and tables inside itself."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    # A copy, so that building leaves nothing in the checkout.
    subprocess.run(
        ["git", "-C", str(ROOT), "checkout-index", "--all", f"--prefix={source}/"], check=True, capture_output=True
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    wheel = next(out.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_it_holds_what_it_needs_and_no_generic_name(unpacked):
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    for needed in (
        "oltr_cli/methods/dme.py",
        "oltr_cli/recipes/glyphs-lt.toml",
        "oltr_cli/recipes/tables/3a.toml",
        "oltr_cli/py.typed",
        "oltr_cli/__init__.pyi",
        "oltr_cli/commands/run.py",
        "oltr_cli/data/glyphs/splits.py",
        "oltr_cli/tables/fill.py",
    ):
        assert needed in files
    assert {name.split("/")[0].split("-")[0] for name in files} <= {"oltr_cli", "oltr"}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "oltr_cli").rglob("*.py")}
    assert modules <= files, "a package is missing in pyproject.toml"
    report = (ROOT / "oltr_cli" / "report").rglob("*.*")
    page = {str(p.relative_to(ROOT)) for p in report if p.suffix in (".html", ".css", ".js")}
    assert "oltr_cli/report/templates/page.html" in page <= files


def test_it_runs_from_another_folder(unpacked, tmp_path):
    # A folder of the same name where it is run must not shadow the installed methods.
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "dme.py").write_text("raise SystemExit('the wrong methods/dme.py')")
    env = {**os.environ, "PYTHONPATH": str(unpacked)}

    def run(*arguments):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    command = [sys.executable, "-c", "import oltr_cli, sys; print(oltr_cli.__file__); sys.exit()"]
    assert run().startswith(str(unpacked))
    command = [sys.executable, "-m", "oltr_cli"]
    listed = json.loads(run("ls", "--json"))
    assert {"plain", "dme"} <= {m["name"] for m in listed["methods"]}
    assert {"glyphs-lt", "imagenet-lt", "tiny-imagenet-lt"} <= {d["name"] for d in listed["datasets"]}
    assert "3a" in {t["name"] for t in listed["tables"]}
    shown = json.loads(run("show", "glyphs-lt", "--json"))
    assert Path(shown["file"]).is_relative_to(unpacked)
