"""Digests inside of files, which tell when a file was damaged or changed by hand after oltr wrote it.

A JSON object has it as the key ``digest``, a TOML file as a comment in its last line. Files of earlier versions have
none and are read as they are.
"""

import hashlib
import json
from typing import Any

DIGEST = "digest"
_LINE = "\n# digest: "  # opens the last line of a TOML file
CHANGED = "damaged, or changed by hand"
ON_PURPOSE = f"if you changed it on purpose, remove its {DIGEST}"


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of the rest as its last key."""
    return {**content, DIGEST: _of_json(content)}


def without_digest(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON object without its digest.

    Raises:
        ValueError: it is not that of the rest.
    """
    rest = {key: value for key, value in content.items() if key != DIGEST}
    if DIGEST in content and content[DIGEST] != _of_json(rest):
        raise ValueError(CHANGED)
    return rest


def toml_with_digest(text: str) -> str:
    """A TOML text with its digest in a last line."""
    return f"{text.rstrip()}{_LINE}{_of_text(text.rstrip())}\n"


def check_toml_digest(text: str) -> None:
    """Raises ValueError: the text has a digest, and it is not that of the lines before it."""
    content, line, digest = text.rpartition(_LINE)
    if line and digest.strip() != _of_text(content):
        raise ValueError(CHANGED)


def _of_json(content: dict[str, Any]) -> str:
    return _of_text(json.dumps(content, sort_keys=True, separators=(",", ":")))


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
