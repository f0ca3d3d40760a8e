"""What reaches the terminal."""

import subprocess
import sys

import pytest
from rich.table import Table
from rich.text import Text

from oltr_cli.base.display import Display, SafeConsole

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
