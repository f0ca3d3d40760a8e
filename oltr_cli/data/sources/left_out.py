"""What a reader of a format leaves out: counted by reason, with the first few by name."""

from collections import defaultdict

from oltr_cli.base.text import some


class LeftOut:
    """Reasons and the images that they apply to, in the order in which they come."""

    def __init__(self) -> None:
        self._shown: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, reason: str, name: str) -> None:
        self._counts[reason] += 1
        if len(self._shown[reason]) < 3:
            self._shown[reason].append(name)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __str__(self) -> str:
        """In one line, for an error: nothing was left."""
        return "; ".join(f"{reason} ({self._counts[reason]:,})" for reason in self._counts)

    def warnings(self) -> list[str]:
        """One for each reason."""
        return [
            f"left out, {reason} ({count:,}): {some(self._shown[reason])}{', …' if count > 3 else ''}"
            for reason, count in self._counts.items()
        ]


SEVERAL = "images that show several classes"
UNLABELLED = "images without a label"
ABSENT = "images that are listed but not there"
