"""What is wrong with a resolved recipe, in one text that says where each wrong value was set."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pydantic import BaseModel

from oltr_cli.errors import nearest, several


@dataclass(frozen=True)
class Problem:
    """What is wrong with ``key``, or with what is below it; ``more`` follows the place where it is set."""

    key: str
    text: str
    more: str = ""


def blamed(problems: list[Problem], origin: dict[str, str], file: str) -> str:
    """The problems, with where each value was set; the recipe file is blamed only for what ``--set`` did not do."""
    places = []
    for problem in problems:
        set_by = [place for key, place in origin.items() if _concerns(key, problem) and place.startswith("--set ")]
        places.append(origin.get(problem.key, "") if not set_by else " and ".join(dict.fromkeys(set_by)))
    if len(problems) == 1 and places[0].startswith("--set "):
        (problem,) = problems
        return f"{places[0]}: {problem.text.removeprefix(f'{problem.key}: ')}{problem.more}"
    listed = [
        f"{problem.text}{f' ({place})' if place else ''}{problem.more}"
        for problem, place in zip(problems, places, strict=True)
    ]
    return several("--set" if all(place.startswith("--set ") for place in places) else file, listed)


def _concerns(key: str, problem: Problem) -> bool:
    """Whether the value of ``key`` is, or is part of, what is wrong: values of a section may not go together."""
    inside = key.startswith(f"{problem.key}.") and key.rpartition(".")[2] in problem.text
    return key == problem.key or inside


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a table of a recipe may have."""
    return [info.alias or name for name, info in model.model_fields.items()]


def explained(section: str, model: type[BaseModel], error: Any) -> Problem:
    """One error that pydantic reports of a section: its key, what is wrong, and the nearest name."""
    location = [str(part) for part in error["loc"]]
    dotted = ".".join([section, *location])
    if error["type"] == "extra_forbidden":
        inner = model
        for part in location[:-1]:
            inner = inner.model_fields[part].annotation  # type: ignore[assignment]
        return Problem(dotted, f"unknown key '{dotted}'", nearest(location[-1], keys_of(inner)))
    # The origin is known of a whole list, not of its entries.
    key = ".".join([section, *takewhile(lambda part: isinstance(part, str), error["loc"])])
    message = error["msg"].removeprefix("Value error, ")
    given = f", not {error['input']!r:.80}" if error["type"] != "value_error" and location else ""
    return Problem(key, f"{dotted}: {message[0].lower()}{message[1:]}{given}")
