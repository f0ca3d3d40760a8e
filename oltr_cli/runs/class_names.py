"""class_names.json beside a dataset's runs: class names as they are now, for runs whose result has the earlier ones.

The file maps the digest of a dataset's lists to the names (K,) by label. ``oltr data rename`` writes it, and whatever
reads a result (oltr_cli/runs/result.py) gets these names.
"""

import json
from pathlib import Path

from pydantic import TypeAdapter

from oltr_cli.base.digests import CHANGED, ON_PURPOSE, without_digest
from oltr_cli.base.files import write_json
from oltr_cli.errors import DataProblem, UsageProblem

CLASS_NAMES = "class_names.json"
_FORM: TypeAdapter[dict[str, list[str]]] = TypeAdapter(dict[str, list[str]])


def check_class_name(name: str) -> None:
    """Check that a class may be called ``name``.

    Raises:
        UsageProblem: it may not.
    """
    if name != " ".join(name.split()) or not name.isprintable() or name in ("", "unknown"):
        raise UsageProblem(f"{name!r}: a class name has printable characters and single blanks, and is not 'unknown'")


def read_class_names(folder: Path) -> dict[str, list[str]]:
    """Digest → names in ``folder``, that of a dataset's runs; empty where no class was renamed.

    Raises:
        DataProblem: the file is damaged.
    """
    path = folder / CLASS_NAMES
    try:
        return _FORM.validate_python(without_digest(json.loads(path.read_bytes())))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError, RecursionError):  # no JSON, no object, other values in it, another digest
        raise DataProblem(f"{path}: is {CHANGED}; remove it, and rename the classes again or, {ON_PURPOSE}") from None


def write_class_names(folder: Path, names: dict[str, list[str]]) -> None:
    """Replace the names in ``folder``."""
    write_json(folder / CLASS_NAMES, names)
