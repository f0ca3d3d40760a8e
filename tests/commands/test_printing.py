"""The one printer of ``--json``."""

import json
import math
from pathlib import Path

from oltr_cli.commands.printing import print_json
from tests.helpers.fake_runs import make_run
from tests.helpers.in_process import oltr_here


def test_json_is_strict_and_on_one_line(capsys):
    print_json({"τ": 0.1, "nan": math.nan, "deep": [{"inf": (-math.inf, 1)}], "file": Path("a/b.png")})
    printed = capsys.readouterr().out
    assert printed == '{"τ": 0.1, "nan": null, "deep": [{"inf": [null, 1]}], "file": "a/b.png"}\n'


def test_names_that_are_not_utf8_are_escaped(capsys):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    print_json({"file": name, "path": Path(name)})
    printed = capsys.readouterr().out
    printed.encode("utf-8")
    assert json.loads(printed) == {"file": name, "path": name}


def test_commands_print_json_with_it():
    for file in (Path(__file__).parents[2] / "oltr_cli" / "commands").rglob("*.py"):
        if file.name != "printing.py":
            assert "print(json" not in file.read_text(encoding="utf-8"), file


def test_a_path_that_looks_like_markup_is_printed_whole(tmp_path):
    home = tmp_path / "[dim]a[bold]"
    home.mkdir()
    recipe = home / "mine.toml"
    assert str(recipe) in oltr_here("cp", "glyphs-lt", recipe)[2]
    assert str(recipe) in oltr_here("show", recipe, "--method", "plain")[1]
    make_run(tmp_path / "runs", "glyphs-lt", "plain")
    saved = oltr_here("compare", "--table", "3a", "-d", "glyphs-lt", "--save", home, OLTR_RUNS=str(tmp_path / "runs"))
    assert f"saved {home}" in saved[2]
