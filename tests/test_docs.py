"""Documents that are tried: command lines parse, the example method passes the suite, links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from oltr_cli import conformance
from oltr_cli.app import app
from oltr_cli.planning import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "results").glob("*.md"))


def commands():
    """(page, line) of every line that starts with ``oltr`` in a code block, and every inline one with arguments."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:bash|console)?\n(.*?)```", text, re.S)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(
            r"`(oltr [^`\n]+ [^`\n]+)`", text
        )  # `oltr run` alone names a command, it is no line to type
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
def test_command_parses(page, line, monkeypatch):
    monkeypatch.setattr(registry, "add_file", lambda path: None)  # a page's example file lies nowhere
    words = shlex.split(line)[1:]
    parse(words)


def test_a_wrong_command_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["run", "dme", "--datasett", "x"])
    assert len(commands()) > 10


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def example(word):
    """The block of adding-a-method.md that holds ``word``."""
    text = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if word in block]
    return found


def example_method():
    return example("class LabelSmoothing")


def test_the_example_method_passes_the_suite(monkeypatch, tmp_path):
    file = tmp_path / "label_smoothing.py"
    file.write_text(example_method())
    monkeypatch.setattr(registry, "_added", {})
    registry.add_file(file)
    conformance.check("label-smoothing")
    assert len([line for line in example_method().splitlines() if line.strip()]) <= 30


def test_the_example_detector_passes_the_suite(monkeypatch, tmp_path):
    file = tmp_path / "logit_gap.py"
    file.write_text(example("class LogitGap"))
    monkeypatch.setattr(registry, "_added", {})
    registry.add_file(file)
    conformance.check("logit-gap")


def test_the_example_method_is_run_and_compared(oltr, tiny_recipe, tmp_path):
    file = tmp_path / "label_smoothing.py"
    file.write_text(example_method())
    options = ("--recipe", tiny_recipe, "--methods-from", file)
    oltr("run", "label-smoothing", *options, "--set", "params.epsilon=0.2", "--dry-run")
    done = oltr("compare", "--table", "3a", *options, "--methods", "plain,label-*", "--run", "--json")
    rows = {row["method"]: row for row in json.loads(done.stdout)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {"plain": "measured", "label-smoothing": "measured"}
    assert rows["label-smoothing"]["in_paper"] is False
