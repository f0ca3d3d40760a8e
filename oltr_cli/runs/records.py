"""What the JSON files of a run have in common: records of plain values, and how one is read."""

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from oltr_cli.base.digests import CHANGED, ON_PURPOSE, without_digest
from oltr_cli.errors import DataProblem

T = TypeVar("T")


class Record(BaseModel):
    """Plain values with fixed names, as in JSON."""

    model_config = ConfigDict(frozen=True)
    ABSENT: ClassVar[frozenset[str]] = frozenset()  # fields that are left out of JSON if they are None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key not in self.ABSENT}

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file or ``--json``."""
        return self.model_dump(mode="json")


def read_record(path: Path, form: TypeAdapter[T], remedy: str) -> T | None:
    """The record in a file; None if there is no file.

    Args:
        remedy: what to do about a damaged one, for the message.
    Raises:
        DataProblem: it cannot be read, is damaged, or was changed after it was written.
    """
    try:
        content = path.read_bytes()
        value = form.validate_json(content)
        without_digest(json.loads(content))
        return value
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("done", "failed"))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise DataProblem(f"{path}: is damaged ({' '.join(what.split())[:200]}); {remedy}") from None
    except (ValueError, RecursionError):
        raise DataProblem(f"{path}: is {CHANGED}; {remedy}, or, {ON_PURPOSE}") from None
