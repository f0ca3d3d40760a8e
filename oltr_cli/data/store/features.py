"""Where features of pre-trained backbones are kept: ``$OLTR_CACHE/features``, for all runs with such a frozen backbone.

Features of a backbone that a run has trained are in that run's folder instead. Needs no torch.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.files import read_json, write_json
from oltr_cli.data.store.folder import cache_home, make_writable, remove_folder

ABOUT = "features.json"


@dataclass(frozen=True)
class FeaturesFolder:
    """Features of one backbone, of all splits of a dataset; it need not exist.

    Attributes:
        weights: what the recipe names; "" for random ones.
        key: digest of the weights' values and the transform of the images.
    """

    dataset: str
    backbone: str
    weights: str
    key: str

    @property
    def path(self) -> Path:
        name = "-".join(re.sub(r"[^\w.-]", "_", word) for word in (self.dataset, self.backbone.split("/")[-1]))
        return cache_home() / "features" / f"{name}-{self.key[:8]}"

    def create(self) -> Path:
        """Make the folder and say in it what it is; returns its path.

        Raises:
            OltrError: it cannot be written.
        """
        make_writable(self.path)
        if not isinstance(read_json(self.path / ABOUT), dict):  # missing or damaged
            write_json(self.path / ABOUT, vars(self))
        return self.path

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def remove(self) -> int:
        """Remove it; returns the bytes that are free now.

        Raises:
            OltrError: it cannot be removed.
        """
        freed = self.size()
        remove_folder(self.path)
        return freed


def find_features() -> list[FeaturesFolder]:
    """All of them below ``cache_home()``, by name."""
    found = []
    for about in sorted((cache_home() / "features").glob(f"*/{ABOUT}")):
        facts = read_json(about)
        try:
            folder = FeaturesFolder(**{key: str(facts[key]) for key in ("dataset", "backbone", "weights", "key")})
        except (TypeError, KeyError):
            continue
        if folder.path == about.parent:
            found.append(folder)
    return found
