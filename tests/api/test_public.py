"""The public names: each is documented and imports, the page's code runs, types are strict, importing is instant."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import oltr_cli
from tests.helpers.finished_runs import environment, make_finished_runs

ROOT = Path(oltr_cli.__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
LISTED = re.findall(r"`(oltr_cli(?:\.\w+)+)`", PAGE[PAGE.index("## Everything public") :])

# Nothing public has a type of these; to read them would take mypy four times as long.
STRICTLY = """
[mypy]
strict = True
ignore_missing_imports = True
follow_imports = silent
[mypy-torch.*,torchvision.*,accelerate.*,sklearn.*,scipy.*,matplotlib.*,rich.*]
follow_imports = skip
"""
STRICT = """
from pathlib import Path

import numpy as np
from PIL import Image

from oltr_cli import (
    Evaluation, Examination, ImageLike, OltrError, Recogniser, SavedScores, SetRule, Taxon, Verdict, evaluate, examine
)

recogniser: Recogniser = Recogniser.load(Path("runs/mine/dme"), threshold=0.3)
images: list[ImageLike] = ["a.jpg", Path("b.jpg"), Image.new("L", (9, 9)), np.zeros((9, 9), np.uint8)]
verdicts: list[Verdict] = recogniser.predict(images)
wide: Verdict = next(recogniser.stream(images, coverage=0.9, set_score="pas", taxonomy=Path("birds.csv"), at_least=0.8))
members: list[str] | None = wide.label_set
taxon: Taxon | None = wide.taxon
label: str = verdicts[0].label
name, share = verdicts[0].top[0]
rounded: float = round(share, 2)
size: tuple[int, ...] = recogniser.embed(iter(["a.jpg"])).shape
scores: SavedScores = recogniser.scores(["a.jpg"], [0])
evaluation: Evaluation = recogniser.evaluate(scores)
other: Evaluation = evaluate({"labels": [0], "logits": [[1.0, 2.0]]}, [3, 4])
examined: Examination = examine("mine/dme")
shares = examined.label_sets(SetRule(0.9, "pas"))[0].groups["few"].coverage
worst: str = examined.class_names[int(examined.per_class().worst_first()[0])]
try:
    paths: list[str] = [one.path for one in examined.mistakes(3)]
except OltrError as problem:
    code: int = problem.exit_code
reveal_type(recogniser.predict)
recogniser.predict(3)  # an error
"""


def test_each_listed_name_imports_and_each_public_one_is_listed():
    assert len(LISTED) == len(set(LISTED)) > 30
    for name in LISTED:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__, name
    own = {name.removeprefix("oltr_cli.") for name in LISTED if name.count(".") == 1}
    assert own == {name for name in oltr_cli.__all__ if name != "__version__"}
    assert own <= set(dir(oltr_cli))


def test_type_checkers_see_the_same_names():
    stub = ast.parse((ROOT / "oltr_cli" / "__init__.pyi").read_text(encoding="utf-8"))
    seen = {
        alias.asname: f"{node.module}".removeprefix("oltr_cli.")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == oltr_cli._PUBLIC


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'oltr_cli' has no attribute 'recognizer'"):
        _ = oltr_cli.recognizer
    with pytest.raises(ImportError):
        exec("from oltr_cli import recognizer")


def test_importing_loads_nothing_and_names_load_no_torch():
    script = (
        "import sys; before = set(sys.modules); import oltr_cli\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('importlib')))\n"
        "from oltr_cli import Recogniser, evaluate, examine, OltrError\n"
        "print('torch' in sys.modules, 'sklearn' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["['oltr_cli']", "False False False"]


def test_the_code_on_the_page_runs(tmp_path, monkeypatch, capsys):
    patch = environment(tmp_path)
    try:
        made = make_finished_runs(tmp_path, {"dme": []})
        monkeypatch.chdir(tmp_path)
        paths = made.scores("dme", "test").paths
        for name, file in zip(("a.jpg", "b.jpg"), paths, strict=False):
            with Image.open(made.images / file) as image:
                image.save(name)
        names = oltr_cli.Recogniser.load(made.names["dme"], device="cpu").class_names
        Path("birds.csv").write_text("".join(f"{name},bird\n" for name in names))
        assert len(BLOCKS) >= 7
        for block in BLOCKS:
            exec(compile(block.replace("mine/dme", made.names["dme"]), "docs/api.md", "exec"), {})
    finally:
        patch.undo()
    printed = capsys.readouterr().out
    assert "images[1]: numpy.ndarray of float32 (64, 64, 3) is not an image; arrays are uint8" in printed
    assert re.search(r"^\(2, \d+\)$", printed, re.M)


def test_a_program_passes_strict_type_checks(tmp_path):
    (tmp_path / "program.py").write_text(STRICT)
    (tmp_path / "mypy.ini").write_text(STRICTLY)
    command = [sys.executable, "-m", "mypy", "--config-file", tmp_path / "mypy.ini", "--cache-dir", tmp_path / "cache"]
    command += [tmp_path / "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin"})
    lines = [line.partition("program.py:")[2] for line in done.stdout.splitlines() if "program.py:" in line]
    problems = [line for line in lines if "error:" in line]
    assert len(problems) == 1, done.stdout + done.stderr
    assert 'Argument 1 to "predict" of "Recogniser" has incompatible type "int"' in problems[0]
    assert any("Iterable[" in line and "list[oltr_cli.inference.verdicts.Verdict]" in line for line in lines), lines
