"""What the fuzzer types and writes: words, command lines, and ways to damage a file."""

import json
import random
from pathlib import Path
from typing import Any

WORDS = (
    *(
        "",
        " ",
        ".",
        "..",
        "/",
        "//",
        "-",
        "--",
        "~",
        "~nouser-of-this/x",
        "*",
        "[",
        "[/old]",
        "[dim]",
        "a[/]b",
        "%s",
        "{0}",
    ),
    *("-1", "0", "1e999", "-inf", "nan", "9" * 30, "9" * 5000, "0x10", "1_0", "١", "1,2", "3.5", "true", "null"),
    *(
        "a" * 300,
        "é",
        "名",
        "\n",
        "a\tb",
        "\x1b[31m",
        "\udcff",
        "'",
        '"',
        "$(id)",
        "&",
        "?",
        "=",
        "a=b",
        ":",
        "@latest",
    ),
    *(
        "plain",
        "dme",
        "energy",
        "plain+energy",
        "tiny",
        "tuned",
        "val_open",
        "fixed:0.1",
        "id_quantile:2",
        "cpu",
        "xpu:9",
    ),
    *("/dev/null", "/proc/self/mem", "nosuch.toml", "nosuch.npz", "x.onnx", "x.html"),
)
SETS = (
    *(
        "train.epochs",
        "train.lr",
        "train.lr.features",
        "train.batch_size",
        "data.name",
        "data.root",
        "data.mean",
        "data",
    ),
    *(
        "backbone.width",
        "backbone.name",
        "backbone.weights",
        "params.lambda",
        "params",
        "detector.T",
        "plain.train.epochs",
    ),
    *("train.schedule", "data.glyphs.seed", "data.image_size", "", ".", "train.", "train..epochs"),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "[/b]",
    "a\0b",
    [],
    {},
    [[]],
)
LITERALS = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "9" * 4000,
    "[]",
    "{}",
    "[nan, nan, nan]",
    '"a\\u0000b"',
    "'x'",
    "true",
    "[" * 500,
)

# {word}: any word; {place}: where to write; {set}: an assignment; others: a real run, recipe, …, at times a word.
COMMANDS = (
    *("show {recipe}", "show {recipe} --set {set}", "show {word}", "show {recipe} -m {word} --json"),
    *(
        "ls {word}",
        "ls runs --json",
        "ls",
        "cp {recipe} {place}",
        "ui --dry-run --port {word}",
        "{word}",
        "{word} {word}",
    ),
    *(
        "run {method} --recipe {recipe} --dry-run --set {set}",
        "run {word} --dry-run",
        "run plain --dataset {word} --dry-run",
    ),
    *("run plain --recipe {recipe} --weights {word} --dry-run", "run plain --recipe {recipe} --seed {word} --dry-run"),
    *(
        "run plain --recipe {recipe} --detector {word} --dry-run",
        "run plain --recipe {recipe} --device {word} --dry-run",
    ),
    *(
        "evaluate {run}",
        "evaluate {run} --threshold {word}",
        "evaluate {npz}",
        "evaluate {npz} --class-counts {list} --json",
    ),
    *("predict {run} {image}", "predict {run} {word} -k {word}", "predict {run} {image} --json --threshold {word}"),
    *(
        "export {run} --out {place}",
        "tune threshold --run {run}",
        "tune threshold --run {run} --rule {word}",
        "tune show {word}",
    ),
    *(
        "compare --dataset tiny",
        "compare --table {word} --json",
        "report --runs {run} --out {out}",
        "report --out {out} --dataset {word}",
    ),
    *(
        "data check {recipe}",
        "data check tiny.toml",
        "data info tiny.toml",
        "data check {word}",
        "data build {place}",
        "figure {word}",
    ),
    *("data active {run} {image} --budget {word}", "run plain --recipe {own} --workers 0 -q"),
)


def damaged(rng: random.Random, content: bytes, suffix: str) -> bytes:
    """``content`` with one fault that a disk, an editor or a vandal makes."""
    kind = rng.randrange(8)
    if kind < 2 and content:
        spoiled = bytearray(content)
        for _ in range(rng.choice((1, 1, 8))):
            spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
        return bytes(spoiled)
    if kind == 2:
        return content[: rng.randrange(len(content) + 1)]
    if kind == 3:
        return rng.choice(
            (b"", b"\0" * 100, b"\xff\xfe", b"[]", b"5", b"null", b"[" * 100_000, b"{}", b"\xef\xbb\xbf" + content)
        )
    if suffix in (".json", ".jsonl"):
        return _other_json(rng, content)
    if suffix in (".toml", ".txt"):
        return _other_lines(rng, content)
    return rng.randbytes(rng.choice((1, 100, 10_000)))


def _other_json(rng: random.Random, content: bytes) -> bytes:
    """The same JSON with other values in it."""
    lines = content.splitlines() if content.count(b"}\n{") else [content]
    place = rng.randrange(len(lines)) if lines else 0
    try:
        value = json.loads(lines[place])
    except (ValueError, IndexError):
        return b"[1]"
    for _ in range(rng.choice((1, 3))):
        value = _changed(rng, value)
    lines[place] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], _changed(rng, value[place]), *value[place + 1 :]]
    return rng.choice(VALUES)


def _other_lines(rng: random.Random, content: bytes) -> bytes:
    """The same text with lines lost, doubled or with another value."""
    lines = content.decode(errors="replace").splitlines()
    if not lines:
        return b"x"
    place = rng.randrange(len(lines))
    key = lines[place].partition("=")[0]
    new = rng.choice(
        (
            *([], [lines[place]] * 2, [f"{key}= {rng.choice(LITERALS)}"], [lines[place].replace(" ", "\t")]),
            *([f"{lines[place]} {rng.choice(WORDS)}"], ["\\".join(lines[place].split())], [rng.choice(WORDS)]),
        )
    )
    lines[place : place + 1] = new
    return "\n".join(lines).encode(errors="surrogateescape")


def command(rng: random.Random, real: dict[str, list[str]], out: Path) -> list[str]:
    """A command line; ``real``: what exists, by the name of its place in ``COMMANDS``."""
    arguments = []
    for part in rng.choice(COMMANDS).split():
        if part == "{set}":
            text = f"{rng.choice(SETS)}={rng.choice(LITERALS + WORDS)}"
        elif part == "{out}":
            text = str(out / "page.html")
        elif part == "{place}":  # written to, so inside of the current folder
            text = rng.choice([word for word in WORDS if not word.startswith(("/", "~", ".."))] + ["x.toml", "new"])
        elif part.startswith("{"):
            known = real.get(part[1:-1], [])
            text = rng.choice(known) if known and (part == "{own}" or rng.random() < 0.85) else rng.choice(WORDS)
        else:
            text = part
        arguments.append(text)
    return arguments
