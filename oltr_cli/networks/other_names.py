"""Files of weights whose entries have other names than the network's, such as those of the project that trained it."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from oltr_cli.networks.backbones import Backbone
from oltr_cli.networks.weight_files import COUNTER

CLASSIFIER = 2  # entries of a classifier at the end of a file, its weight and bias


def renamed(backbone: Backbone, entries: dict[str, Tensor], needed: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """The entries of a file under the network's names, and how they were recognised; unchanged and "" if they are not.

    For a file that does not fit by its names: the backbone's own knowledge of other names, then the order of the
    entries, if every one has the shape of the network's entry at the same place.
    """
    for recognise, how in (
        (_by_conversion, "by the names of the project that trained it"),
        (_by_order, "by order and shape, because the names are others"),
    ):
        found = [other for part in _networks_in(entries) if (other := recognise(backbone, part, needed))]
        if len(found) == 1:  # of two networks in a file neither is guessed
            return found[0], how
    return entries, ""


def _by_conversion(backbone: Backbone, part: dict[str, Tensor], needed: Sequence[str]) -> dict[str, Tensor] | None:
    try:
        converted = backbone.from_other_names(part)
    except Exception:  # a conversion meets any file here, most of which it was not written for
        return None
    return dict(converted) if set(needed) <= converted.keys() else None


def _by_order(backbone: Backbone, part: dict[str, Tensor], needed: Sequence[str]) -> dict[str, Tensor] | None:
    own = backbone.weight_entries()
    values = [value for name, value in part.items() if not name.endswith(COUNTER)]
    pairs = list(zip(needed, values, strict=False))
    complete = bool(needed) and 0 <= len(values) - len(needed) <= CLASSIFIER
    return dict(pairs) if complete and all(value.shape == own[name].shape for name, value in pairs) else None


def _networks_in(entries: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The whole, and then what is below each of the outermost names."""
    yield entries
    outer = dict.fromkeys(name.partition(".")[0] for name in entries if "." in name)
    for one in outer:
        yield {name.removeprefix(f"{one}."): value for name, value in entries.items() if name.startswith(f"{one}.")}
