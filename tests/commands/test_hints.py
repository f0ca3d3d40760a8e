"""Hints after a command line that was refused, and what is refused before torch is imported."""

import sys

import pytest

from oltr_cli import app
from oltr_cli.errors import UsageProblem
from oltr_cli.planning.plan import check_words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train dme", "oltr run"),
        ("run dme --epochs 3", "--set train.epochs=VALUE"),
        ("run dme --image-size 3", "--set data.image_size=VALUE"),
        ("run dme --lambda 3", "--set params.lambda=VALUE"),
        ("run dme --seed x", ""),
        ("rm dme --methods-from x.py", "leave it out: this command loads no method"),
        ("tune threshold --epochs 3", ""),
        ("tune lambda --epochs 3", "--set train.epochs=VALUE"),
        ("foo", ""),
    ],
)
def test_a_refused_command_line_gets_a_hint_where_one_is_known(monkeypatch, capsys, words, says):
    monkeypatch.setattr(sys, "argv", ["oltr", *words.split()])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 2
    hints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hint: ")]
    assert [says in line for line in hints] == ([True] if says else [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dem", "glyphs-lt", []), "no method 'dem'; did you mean 'dme'"),
        (("dme", "nope", []), "no dataset or recipe 'nope'"),
        (("dme", "glyphs-lt", ["epochs=3"]), "did you mean 'train.epochs'"),
        (("dme", "glyphs-lt", ["epochs"]), "KEY=VALUE"),
    ],
)
def test_names_and_keys_are_checked_first(monkeypatch, words, says):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now fails
    with pytest.raises(UsageProblem, match=says.replace("?", r"\?")):
        check_words(*words)
    check_words("dme+energy", "glyphs-lt", ["train.epochs=3", "lambda=1"])


@pytest.mark.parametrize(
    "words",
    [["run", "dme", "--methods-from", "/no/\x1b[31m.py"], ["run", "dme", "--fo\x1b[31mo"], ["\x1b]0;title\x07"]],
)
def test_what_is_typed_reaches_the_terminal_as_text(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["oltr", *words])
    with pytest.raises(SystemExit) as left:
        app.main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert "\x1b" not in said
    assert "\\x1b" in said
