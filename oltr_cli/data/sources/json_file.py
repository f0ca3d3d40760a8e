"""JSON from elsewhere: values of the expected kind, or an error that names file and key."""

import json
from pathlib import Path
from typing import Any

from oltr_cli.errors import DataProblem


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``.

    Raises:
        DataProblem: unreadable, not valid JSON, or not an object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise DataProblem(f"{file}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DataProblem(f"{file}:{error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise DataProblem(f"{file}: not valid JSON (nested too deeply)") from None
    except OSError as error:
        raise DataProblem(f"{file}: cannot be read ({error.strerror})") from None
    if not isinstance(content, dict):
        raise DataProblem(f"{file}: not a JSON object")
    return content


def objects(content: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    """The list of objects under ``key``.

    Raises:
        DataProblem: no such key, or something else is there.
    """
    found = content.get(key)
    if not isinstance(found, list):
        raise DataProblem(f"{file}: '{key}' is {'missing' if key not in content else 'not a list'}")
    for position, one in enumerate(found):
        if not isinstance(one, dict):
            raise DataProblem(f"{file}: {key}[{position}] is not an object")
    return found


def value(one: dict[str, Any], key: str, where: str) -> Any:
    """A text or a whole number under ``key``, a text without blanks around it.

    Raises:
        DataProblem: missing, empty or of another kind; the message begins with ``where``.
    """
    found = one.get(key)
    found = found.strip() if isinstance(found, str) else found
    if isinstance(found, float) and found.is_integer():  # as tables have numbers where one is missing
        found = int(found)
    if found is None or found == "" or isinstance(found, (dict, list, bool, float)):
        raise DataProblem(f"{where}: '{key}' is {'missing' if found is None else f'{found!r}'}")
    return found


def scalars(one: dict[str, Any]) -> dict[str, str]:
    """Texts and numbers of an object, as a table has them."""
    return {key: str(found) for key, found in one.items() if isinstance(found, (str, int, float))}
