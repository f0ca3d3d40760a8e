"""Digests inside of files: what is written is read back, every change is noticed, and earlier files need none."""

import json
import random

import pytest

from oltr_cli.base.digests import check_toml_digest, toml_with_digest, with_digest, without_digest
from oltr_cli.base.files import read_json, write_json
from oltr_cli.errors import DataProblem
from oltr_cli.recipe.files import read_toml, recorded_recipe
from oltr_cli.runs.choices import TunedThreshold, read_tuned
from oltr_cli.runs.class_names import read_class_names, write_class_names
from oltr_cli.runs.folder import Run
from oltr_cli.runs.history import as_lines, read_history
from oltr_cli.runs.result import read_outcome
from tests.helpers.fake_runs import make_run

CONTENT = {"b": [1, 2.5, None, "ü\n"], "a": {"x": 0.1 + 0.2, "digest": "inside"}}


def test_json_comes_back_without_its_digest_however_it_is_laid_out(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, CONTENT)
    assert read_json(file) == CONTENT
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4, sort_keys=True))
    assert read_json(file) == CONTENT
    file.write_text(json.dumps(CONTENT))  # as earlier versions wrote it
    assert read_json(file) == CONTENT
    file.write_text(json.dumps({**with_digest(CONTENT), "b": []}))
    assert read_json(file) is None


def test_toml_is_checked_line_by_line_and_earlier_files_are_taken_as_they_are(tmp_path):
    text = toml_with_digest("[data]\nroot = 'x'\n")
    check_toml_digest(text)
    check_toml_digest("[data]\n")
    check_toml_digest(text.replace("\n", "\r\n").replace("\r\n", "\n"))
    with pytest.raises(ValueError, match="damaged, or changed by hand"):
        check_toml_digest(text.replace("'x'", "'y'"))
    file = tmp_path / "recipe.toml"
    file.write_text(text.replace("'x'", "'y'"))
    with pytest.raises(
        DataProblem, match=r"recipe\.toml: is damaged, or changed by hand; restore it or, if you changed"
    ):
        read_toml(file)
    assert recorded_recipe(tmp_path) == {}


def flipped(rng: random.Random, content: bytes) -> bytes:
    spoiled = bytearray(content)
    spoiled[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def test_no_flipped_bit_of_a_runs_json_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    run = make_run(tmp_path, "tiny", "plain")
    TunedThreshold(rule="val_open", value=0.25).write(run.path)
    write_json(run.path / "environment.json", {"precision": "float32", "threads": 2})
    write_class_names(tmp_path / "tiny", {"abc": ["one", "two"]})

    def environment(folder):
        found = Run(tmp_path, "tiny", "plain", "0123456789", 0).environment()
        return found["precision"], found["threads"]  # a flipped bit in the key of the digest makes it another fact

    readers = {
        run.path / "result.json": (read_outcome, run.path),
        run.path / "threshold.json": (read_tuned, run.path),
        run.path / "environment.json": (environment, run.path),
        tmp_path / "tiny" / "class_names.json": (read_class_names, tmp_path / "tiny"),
    }
    rng = random.Random(5)
    for file, (read, where) in readers.items():
        content, expected, noticed = file.read_bytes(), read(where), []
        for _ in range(60):
            file.write_bytes(flipped(rng, content))
            try:
                assert read(where) == expected, file.name
            except DataProblem as problem:
                noticed.append(str(problem))
        assert len(noticed) > 30, file.name
        assert all(line.startswith(f"{file}: is damaged") for line in noticed)
        file.write_bytes(content)


def test_the_history_ends_before_a_row_with_another_digest(tmp_path):
    rows = [{"epoch": epoch, "loss": 0.5 / epoch} for epoch in (1, 2, 3)]
    file = tmp_path / "metrics.jsonl"
    file.write_text(as_lines(rows))
    assert read_history(file) == rows
    file.write_text(as_lines(rows).replace("0.25", "0.26"))
    assert read_history(file) == rows[:1]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_history(file) == rows


def test_a_digest_of_its_own_is_not_lost():
    assert without_digest(with_digest(CONTENT)) == CONTENT
    with pytest.raises(ValueError, match="damaged"):
        without_digest({"digest": 5})
