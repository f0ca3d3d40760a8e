"""Words and numbers for people: shortened lists, plurals, numbers with only the digits they need, JSON."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def some(items: Sequence[object]) -> str:
    """The first three items, and the total if there are more."""
    return ", ".join(map(str, items[:3])) + (f", … ({len(items):,} in all)" if len(items) > 3 else "")


def counted(count: int, thing: str) -> str:
    """``1 image``, ``2,000 images``, ``3 classes``."""
    if count == 1:
        return f"1 {thing}"
    return f"{count:,} {thing}{'es' if thing.endswith('s') else 's'}"


def number(value: float) -> str:
    """A confidence or a distance: three decimals, or an exponent if they would all be 0."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.2e}"


def shortest(value: "float | np.float32") -> float:
    """The float64 with the fewest decimals that is still the float32 nearest to ``value``."""
    import numpy as np

    return float(str(np.float32(value)))


def amount(size: float) -> str:
    """A number of bytes as ``12 MB`` or ``1.5 GB``, powers of ten."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def visible(text: str) -> str:
    """``text`` with line breaks and other control characters escaped: a file name must not move the cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """``visible``, but line breaks stay."""
    return text if text.isprintable() else "\n".join(map(visible, text.split("\n")))


_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def spreadsheet_cell(cell: Any) -> Any:
    """A cell of a CSV file that no spreadsheet takes for a formula: text that looks like one gets a ``'`` in front.

    To undo it, remove one ``'`` where text begins with ``'`` and then, after any more of them, one of ``= + - @``, a
    tab or a carriage return.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def json_text(value: Any) -> str:
    """``value`` on one line of JSON, as UTF-8 if possible: a file name that is not UTF-8 is escaped.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text
