"""What a class is to formats of camera traps, which tell animals from people, vehicles and empty images."""

from typing import Literal

Kind = Literal["animal", "human", "vehicle", "blank"]

_NAMES: dict[str, Kind] = {
    **dict.fromkeys(("human", "humans", "person", "persons", "people", "homo sapiens"), "human"),
    **dict.fromkeys(("vehicle", "vehicles"), "vehicle"),
    **dict.fromkeys(("blank", "empty"), "blank"),
}


def kind_of(class_name: str) -> Kind:
    """By its name: ``human``, ``vehicle`` and ``blank`` in their usual spellings, any other class is an animal."""
    return _NAMES.get(class_name.casefold().replace("_", " "), "animal")
