"""What a repeated build keeps of an earlier one in the same folder: the split of each image, and the recipe's settings.

Without this, adding photographs would move others from training to the test, where a run that starts from an earlier
one (``oltr run --from``) has already seen them, and would undo what was edited in the recipe.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from oltr_cli.base.files import parse_toml
from oltr_cli.base.text import counted
from oltr_cli.data.build.recipe import renewed
from oltr_cli.data.build.write import recipe_in
from oltr_cli.data.lists.list_file import read_list
from oltr_cli.errors import DataProblem


@dataclass(frozen=True)
class Earlier:
    """An earlier build of the folder; empty if there is none.

    Attributes:
        split_of: image → the split that it was in.
        recipe: the text of its recipe, "" if there is none.
        file: where that is.
    """

    split_of: dict[Path, str] = field(default_factory=dict)
    recipe: str = ""
    file: Path | None = None

    @classmethod
    def read(cls, folder: Path, redraw: bool) -> "Earlier":
        """The build in ``folder``; with ``redraw`` without the splits.

        Raises:
            DataProblem: a list of it cannot be read, or its recipe does not say where the images are.
        """
        file = recipe_in(folder)
        if file is None:
            return cls()
        recipe = file.read_text(encoding="utf-8")
        if redraw:
            return cls(recipe=recipe, file=file)
        root = parse_toml(recipe)["data"].get("root")
        if not isinstance(root, str):
            raise DataProblem(
                f'{file}: [data] has no root = "FOLDER", so it is unknown which image was in which split; '
                "write it, or use --redraw"
            )
        splits: dict[Path, str] = {}
        for split in ("train", "val", "test"):
            if (path := folder / f"{split}.txt").is_file():
                splits |= {Path(root) / name: split for name in read_list(path)[0]}
        return cls(splits, recipe, file)

    def check(self, images: Iterable[Path]) -> None:
        """Raise DataProblem if none of ``images`` is of the earlier build: all would change their split in silence."""
        if self.split_of and not any(path in self.split_of for path in images):
            raise DataProblem(
                f"{self.file}: none of its {counted(len(self.split_of), 'image')} is among the photographs now; if "
                "their folder was moved, write where it is now as root in this file, else use --redraw"
            )

    def recipe_for(self, new: str) -> str:
        """The recipe of a build whose own would be ``new``: the earlier settings, if there are any."""
        return renewed(self.recipe, new) if self.recipe else new
