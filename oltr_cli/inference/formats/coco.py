"""Verdicts as COCO JSON: tables of images and categories, and a result for each image that could be read.

https://cocodataset.org/#format-results. A result is an annotation with a ``score``; its box is the image, since oltr
classifies whole images. Rejected images have a category of their own, after the classes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oltr_cli import __version__
from oltr_cli.base.text import json_text
from oltr_cli.data.images import image_facts
from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.inference.formats.rows import Line, Lines
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.verdicts import UNKNOWN, Totals, Verdict
from oltr_cli.inference.wider import WiderAnswers


class Coco(Lines):
    """One JSON object; it is closed only after the last image, so a call that was stopped leaves no valid one.

    Images are written as they come. Their results wait in a temporary file, because they are a list of their own.
    """

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        super().__init__(recogniser, top_k, explain, wider)
        names = recogniser.class_names
        self.ids = {name: label + 1 for label, name in enumerate(names)}
        self.rejected = len(names) + 1
        unknown = UNKNOWN if UNKNOWN not in self.ids else f"{UNKNOWN} (rejected)"
        self.head = {
            "info": {
                "version": "1.0",
                "description": f"predictions of {recogniser.run.name}",
                "contributor": f"oltr {__version__}",
                "run": recogniser.run.name,
                "threshold": recogniser.threshold_facts,
            },
            "licenses": [],
            "categories": [{"id": id_, "name": name} for name, id_ in {**self.ids, unknown: self.rejected}.items()],
        }
        self.images = self.results = 0
        self.waiting = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  closed with this object

    def start(self) -> list[Line]:
        return [(json_text(self.head)[:-1] + ', "images": [', "")]

    def row(self, v: Verdict) -> list[Line]:
        self.images += 1
        image: dict[str, Any] = {"id": self.images, "file_name": v.path}
        try:
            if v.error:
                raise DataProblem(v.error)
            facts = image_facts(Path(v.path))
            image |= {"width": facts.width, "height": facts.height}
            if facts.taken is not None:
                image["datetime"] = facts.taken.isoformat(" ")
            self._keep(v, facts.width, facts.height)
        except DataProblem as problem:
            image |= {"corrupt": True, "failure": str(problem)}
        return [(("," if self.images > 1 else "") + json_text(image), "")]

    def end(self, totals: Totals, complete: bool) -> Iterator[Line]:
        if complete:
            yield '], "annotations": [', ""
            self.waiting.seek(0)
            for line in self.waiting:
                yield line.rstrip("\n"), ""
            yield "]}", ""
        self.waiting.close()

    def _keep(self, v: Verdict, width: int, height: int) -> None:
        before = "," if self.results else ""
        self.results += 1
        result = {
            "id": self.results,
            "image_id": self.images,
            "category_id": self.rejected if v.unknown else self.ids[v.label],
            "score": v.confidence,
            "bbox": [0, 0, width, height],
            "area": width * height,
            "iscrowd": 0,
            "top": [{"category_id": self.ids[name], "probability": share} for name, share in v.top],
        }
        try:
            self.waiting.write(f"{before}{json_text(result)}\n")
        except OSError as error:
            place = tempfile.gettempdir()
            raise OltrError(f"{place}: cannot be written ({error.strerror}); another folder: TMPDIR=FOLDER") from None
