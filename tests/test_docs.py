"""Documents that are tried: command lines parse, the example method passes the suite, links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from oltr_cli import conformance
from oltr_cli.app import app
from oltr_cli.base import added_files

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
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
    monkeypatch.setattr(added_files, "add_file", lambda path: None)  # a page's example file lies nowhere
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


def example(page, file, word="class "):
    """The Python block of a page that holds ``word``, the first of several, written to ``file``."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if word in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    file.write_text(code)
    return file


@pytest.mark.parametrize(
    ("page", "name"), [("adding-a-method.md", "label-smoothing"), ("adding-a-backbone.md", "small-cnn")]
)
def test_the_example_passes_the_suite(no_files, tmp_path, page, name):
    added_files.add_file(example(page, tmp_path / f"{name.replace('-', '_')}.py"))
    kind = page.removeprefix("adding-a-").removesuffix(".md")
    assert {check.__module__ for check in conformance.checks_of(name)} == {f"oltr_cli.conformance.{kind}s"}
    conformance.check(name)


def test_the_example_detector_passes_the_suite(no_files, tmp_path):
    added_files.add_file(example("adding-a-method.md", tmp_path / "logit_gap.py", "class LogitGap"))
    conformance.check("logit-gap")


def test_the_example_method_is_run_and_compared(oltr, tiny_recipe, tmp_path):
    file = example("adding-a-method.md", tmp_path / "label_smoothing.py")
    options = ("--recipe", tiny_recipe, "--methods-from", file)
    oltr("run", "label-smoothing", *options, "--set", "params.epsilon=0.2", "--dry-run")
    done = oltr("compare", "--table", "3a", *options, "--methods", "plain,label-s*", "--run", "--json")
    rows = {row["method"]: row for row in json.loads(done.stdout)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {"plain": "measured", "label-smoothing": "measured"}
    assert rows["label-smoothing"]["in_paper"] is False


def test_the_example_backbone_is_trained_frozen_and_exported(oltr, tiny_recipe, tiny_data, tmp_path):
    file = example("adding-a-backbone.md", tmp_path / "small_cnn.py")
    files, sets = ("--methods-from", file), ("--set", "backbone.name=small-cnn", "--set", "train.epochs=1")
    sets += ("--set", "plain.train.epochs=1", "--recipe", tiny_recipe)
    refused = oltr("run", "plain", *sets[:4], "--recipe", tiny_recipe, *files, check=2)
    assert "does not use stem; restore the default: --set backbone.stem=imagenet" in refused.stderr
    sets += ("--set", "backbone.stem=imagenet")
    words = ("run", "dme", *sets, "--set", "train.freeze_backbone=true", *files)
    assert f"--recipe {tiny_recipe} --methods-from {file}" in oltr(*words).stderr.partition("next")[2]
    result = json.loads(oltr(*words, "--json").stdout)
    assert result["status"] == "done"
    run = result["run"]
    shots = tiny_data / "tiny" / "test" / "c0"
    rows = json.loads(oltr("predict", run, shots, *files, "--json").stdout)["images"]
    assert len(rows) == 4
    exported = json.loads(oltr("export", run, "--to", "torch", "--out", tmp_path / "net.pt2", *files, "--json").stdout)
    assert exported["difference"] < 1e-4
    lost = oltr("predict", run, shots, check=2)
    assert "error: no backbone 'small-cnn'" in lost.stderr
    listed = json.loads(oltr("ls", "backbones", *files, "--json").stdout)["backbones"]
    assert listed[-1] == {
        "name": "small-cnn",
        "source": "this page",
        "summary": "Three convolutions of stride 2, for small images",
        "origin": "file",
        "broken": False,
    }
