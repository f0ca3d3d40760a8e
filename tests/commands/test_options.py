"""Options that several commands share are written once."""

import ast
from collections import Counter
from pathlib import Path

from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base import added_files
from oltr_cli.commands.next_steps import tune_run_command, tune_threshold_command

COMMANDS = Path(__file__).parents[2] / "oltr_cli" / "commands"


def definitions(text: str) -> Counter[tuple[str, ...]]:
    """Flags and help of every ``typer.Option(…)`` and ``typer.Argument(…)`` in a module's text, and how often."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return Counter(
        (*map(ast.unparse, call.args), ast.unparse(keyword.value))
        for call in calls
        if ast.unparse(call.func) in ("typer.Option", "typer.Argument")
        for keyword in call.keywords
        if keyword.arg == "help"
    )


def test_an_option_is_defined_once():
    found = sum((definitions(file.read_text(encoding="utf-8")) for file in COMMANDS.rglob("*.py")), Counter())
    assert len(found) > 100
    twice = [definition for definition, count in found.items() if count > 1]
    assert not twice, "define these in oltr_cli/commands/options.py"


def test_an_added_file_is_taken_by_every_command_that_takes_a_name_of_one(tmp_path, no_files):
    file = tmp_path / "mine.py"
    file.write_text("class Mine(Method): pass\n")
    commands = ("run", "evaluate", "predict", "serve", "embed", "export", "compare", "figure", "report", "ls", "show")
    for words in [[name] for name in commands] + [
        *(["tune", "search"], ["tune", "show"], ["tune", "threshold"], ["data", "build"], ["data", "active"])
    ]:
        done = CliRunner().invoke(app, [*words, "--methods-from", str(file), "--help"])
        assert done.exit_code == 0, (words, done.output)


def test_a_rule_that_reads_the_test_set_is_offered_only_where_it_is_taken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for words, offered in (
        (["predict"], False),
        (["serve"], False),
        (["export"], False),
        (["data", "active"], False),
        (["evaluate"], True),
        (["compare"], True),
    ):
        assert ("oracle_test" in CliRunner().invoke(app, [*words, "--help"]).output) == offered, words


def test_next_commands_have_the_added_files(tmp_path, no_files):
    file = tmp_path / "mine.py"
    file.write_text("class Mine(Method): pass\n")
    added_files.add_file(file)
    assert tune_run_command("tiny/mine", has_open_val=True).endswith(f"--run tiny/mine --methods-from {file}")
    assert tune_threshold_command("tiny", "mine", has_open_val=False).endswith(f"0.95 --methods-from {file}")
