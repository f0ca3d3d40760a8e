"""Text on pictures: DejaVu from matplotlib, other installed fonts for the characters it lacks, wrapped to a width.

DejaVu covers Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic. Other scripts are looked for once among the
system's fonts; a character that no font has becomes ``▯`` instead of the font's own empty box.
"""

from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

NO_GLYPH = "▯"
_REGULAR, _BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"


class Lettering:
    """One font size, in pixels; ``bold`` if the script has it."""

    def __init__(self, size: int, bold: bool = False) -> None:
        import matplotlib

        self.size = size
        self._own = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / (_BOLD if bold else _REGULAR))
        ascent, descent = _font(self._own, size).getmetrics()
        self.line_height = ascent + descent

    def has(self, character: str) -> bool:
        """Whether DejaVu has a shape for it."""
        return ord(character) in _charmap(self._own)

    def width(self, text: str) -> float:
        """Pixels from the start of ``text`` to its end."""
        return sum(_font(file, self.size).getlength(run) for file, run in self._runs(text))

    def draw(self, on: ImageDraw.ImageDraw, x: float, y: float, text: str, ink: str) -> None:
        """``text`` with the top of its line at ``y``."""
        baseline = y + _font(self._own, self.size).getmetrics()[0]
        for file, run in self._runs(text):
            font = _font(file, self.size)
            on.text((x, baseline), run, font=font, fill=ink, anchor="ls")
            x += font.getlength(run)

    def wrap(self, text: str, width: float, most: int = 2) -> list[str]:
        """``text`` as at most ``most`` lines of at most ``width`` pixels, broken at spaces if there are any.

        What does not fit ends in "…".
        """
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if self.width(longer) <= width:
                lines[-1] = longer
                continue
            if lines[-1]:
                lines.append("")
            while self.width(word) > width:  # a word that is longer than a line
                head = self._longest(word, width)
                # Paths and compounds break after a sign, if there is one in the second half.
                sign = max(head.rfind(sign) for sign in "/_-") + 1
                head = head[:sign] if 2 * sign > len(head) else head
                lines[-1], word = head, word[len(head) :]
                lines.append("")
            lines[-1] = word
        if len(lines) <= most:
            return [line for line in lines if line] or [""]
        last = " ".join(lines[most - 1 :])
        return [*lines[: most - 1], self._longest(last, width - self.width("…")).rstrip(" ,;·") + "…"]

    def _longest(self, text: str, width: float) -> str:
        """The longest start of ``text`` that fits, at least one character."""
        low, high = 1, max(1, len(text))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(text[:middle]) <= width else (low, middle - 1)
        return text[:low]

    def _runs(self, text: str) -> list[tuple[str, str]]:
        """(font file, characters) for stretches that one font covers."""
        if all(map(self.has, text)):
            return [(self._own, text)] if text else []
        chosen = [self._file_for(c) for c in text]
        shown = [(file or self._own, c if file else NO_GLYPH) for file, c in zip(chosen, text, strict=True)]
        return [(file, "".join(c for _, c in run)) for file, run in groupby(shown, key=lambda pair: pair[0])]

    def _file_for(self, character: str) -> str | None:
        if self.has(character):
            return self._own
        return _system_font(character)


def drawable(text: str) -> str:
    """``text`` for matplotlib: characters that DejaVu lacks as ``▯``, or it would warn and draw its own box."""
    own = Lettering(12)
    return "".join(c if own.has(c) else NO_GLYPH for c in text)


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _charmap(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a bitmap font, or a broken one
        return frozenset()


@cache
def _system_font(character: str) -> str | None:
    """The first installed font that has ``character``, by name; None if there is none."""
    from matplotlib.font_manager import findSystemFonts

    candidates = sorted(findSystemFonts(), key=lambda file: ("Sans" not in Path(file).name, Path(file).name))
    return next((file for file in candidates if ord(character) in _charmap(file)), None)
