"""What is printed: brackets in paths and names stay, whatever stands in them."""

import ast
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from oltr_cli.base.display import Display, SafeConsole
from tests.helpers.in_process import oltr_here
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset

PACKAGE = Path(__file__).parents[2] / "oltr_cli"
HOSTILE = "owl\x1b]0;title\x07\x1b[2J\x9b31m"


@pytest.mark.parametrize("terminal", [False, True])
def test_no_escape_sequence_of_a_name_reaches_the_terminal(terminal, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    display = Display()
    display.say(f"[dim]reading[/] {HOSTILE}\nsecond line")
    display.warn(f"left out: {HOSTILE}")
    table = Table("name")
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, "red"))
    SafeConsole().print(table)
    out, err = capsys.readouterr()
    for text, times in ((out, 2), (err, 2)):
        assert text.count("owl\\x1b]0;title") == times
        assert "\x1b]" not in text
        assert "\x1b[2J" not in text
        assert "\x9b" not in text
        assert "\x07" not in text
    assert "\nsecond line\n" in err


def test_an_error_line_spells_out_control_characters(tmp_path):
    command = [sys.executable, "-m", "oltr_cli", "data", "info", str(tmp_path / "\x1b[31mno.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert "\\x1b[31mno.toml" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "name", ["runs[/old]", "runs [old]", "a[/]b", "[bold red]x", "[link=http://x]y", "[@click=x]z"]
)
def test_only_our_own_styles_are_markup(name):
    console = SafeConsole(file=io.StringIO(), width=200)
    table = Table(box=None)
    table.add_column()
    table.add_row(name)
    console.print(name)
    console.print(f"[dim]at[/] {name} [bold]and[/] :smile:")
    console.print(f"[bold]{name}[/]", markup=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]
    assert lines == [name, f"at {name} and :smile:", f"[bold]{name}[/]", name]


def test_every_style_in_our_texts_is_one_that_the_console_knows():
    styles = re.compile(r"\[(?:bold|dim|italic|underline|red|green|yellow|blue|magenta|cyan)(?: \w+)*\]")
    texts = [
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    used = {style for text in texts for style in styles.findall(text)}
    assert len(used) > 2
    console = SafeConsole(file=io.StringIO(), width=200)
    for style in used:
        console.print(f"{style}x[/]")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().split() == ["x"] * len(used)


def test_no_console_of_another_kind_is_made():
    for file in PACKAGE.rglob("*.py"):
        called = [n.func for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
        names = [f.id if isinstance(f, ast.Name) else getattr(f, "attr", "") for f in called]
        assert "Console" not in names, f"{file}: use oltr_cli.base.display.SafeConsole"


def test_commands_under_a_folder_with_brackets(tmp_path, monkeypatch):
    home = tmp_path / "my [old] things"
    tiny = make_tiny_dataset(home / "data[/old]" / "tiny")
    names = ["owl [/b]", "[red]", "c", "d", "[e]"]
    (tiny / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    recipe = home / "tiny [mine].toml"
    recipe.write_text(TINY_RECIPE.replace('"tiny"', '"tiny"\nroot = ' + repr(str(tiny))))
    runs = home / "runs[/old]"
    monkeypatch.setenv("OLTR_RUNS", str(runs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("oltr_cli.drawing.run_plots.save_run_plots", lambda path: [])
    command = ("run", "plain", "--recipe", recipe, "--set", "train.epochs=1", "--workers", 0)
    for said in ("\nrun   ", "(was already finished)"):
        code, out, err = oltr_here(*command)
        assert (code, "Traceback" in err) == (0, False), err
        assert said in err
        (line,) = [line for line in err.splitlines() if line.startswith("run   ")]
        assert line.startswith(f"run   {runs}/tiny/plain/")
    code, out, _ = oltr_here("show", recipe)
    assert (code, str(recipe) in out) == (0, True)
    copy = home / "copy[/x].toml"
    code, out, err = oltr_here("cp", recipe, copy)
    assert (code, out.strip()) == (0, str(copy))
    assert f"'{copy}'" in err  # quoted for the shell
    missing = home / "none[/w].pt"
    code, _, err = oltr_here(*command, "--weights", missing)
    assert code == 3
    assert f"{missing} cannot be read" in err
    for more in (("evaluate", "plain"), ("predict", "plain", tiny / "test", "--device", "cpu"), ("ls", "runs")):
        code, out, err = oltr_here(*more)
        assert (code, "Traceback" in err) == (0, False), err
    code, out, err = oltr_here("predict", "plain", tiny / "test" / "c1", "--device", "cpu")
    assert any(name in out for name in names)
