"""Documents that are tried: every command line parses, the example method passes the suite, every link leads somewhere."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import typer

from oltr_cli import conformance
from oltr_cli.app import app
from oltr_cli.commands.tune import tune_app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "results").glob("*.md")]


def commands():
    """(page, line) of every line that starts with ``oltr`` in a code block, and of every inline one with arguments."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in re.findall(r"```(?:bash|console)?\n(.*?)```", text, re.S) for line in block.splitlines()]
        lines += [code for code in re.findall(r"`(oltr [^`\n]+)`", text) if not code.startswith("oltr_")]
        for line in lines:
            line = line.removeprefix("$ ").split("#")[0].strip()
            if line.startswith("oltr "):
                found.append((page.name, line))
    return sorted(set(found))


def parse(words):
    """Let click read the words as the program would, without doing anything."""
    group = typer.main.get_command(app)
    context = group.make_context("oltr", list(words), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    while hasattr(command, "commands"):
        sub = command.make_context(name, list(rest), parent=context)
        name, command, rest = command.resolve_command(sub, [*sub._protected_args, *sub.args])
        context = sub
    command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_parses(page, line):
    words = shlex.split(line)[1:]
    if any(word.isupper() and len(word) > 2 and "." not in word for word in words):
        words = [word if not word.isupper() else "x" for word in words]  # METHOD, RUN: stands for something
    parse(words)


def test_a_wrong_command_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["run", "dme", "--datasett", "x"])
    assert len(commands()) > 10
    assert tune_app is not None


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_example_method_passes_the_suite(monkeypatch):
    text = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    module = types.ModuleType("label_smoothing")
    monkeypatch.setitem(sys.modules, "label_smoothing", module)
    exec(compile(code, "adding-a-method.md", "exec"), module.__dict__)
    plain = conformance.load_method("plain")
    monkeypatch.setattr(conformance, "method_chain", lambda name: [("plain", plain), (name, module.LabelSmoothing)])
    for check in conformance.CHECKS:
        check("label-smoothing")
    assert len(code.splitlines()) < 45
