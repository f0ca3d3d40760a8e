"""Options that several commands share are written once."""

import ast
from collections import Counter
from pathlib import Path

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
