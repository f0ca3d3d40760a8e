"""Verdicts as batch results of MegaDetector, which Timelapse, AddaxAI and other tools of camera traps read.

Format 1.5, https://lila.science/megadetector-output-format. oltr classifies whole images, so each image has one
detection, its box is the image and its ``conf`` 1.0; the class and its softmax probability are the detection's
classification. A rejected image is a detection without a classification, an empty one has no detection.
"""

from typing import Any

from oltr_cli.base.text import json_text
from oltr_cli.inference.formats.class_kinds import Kind, kind_of
from oltr_cli.inference.formats.rows import Line, Lines
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.verdicts import Ranked, Totals, Verdict
from oltr_cli.inference.wider import WiderAnswers

FORMAT_VERSION = "1.5"
_DETECTED: dict[Kind, tuple[str, str]] = {
    "animal": ("1", "animal"),
    "human": ("2", "person"),
    "vehicle": ("3", "vehicle"),
}


class MegaDetector(Lines):
    """One JSON object; it is closed only after the last image, so a call that was stopped leaves no valid one."""

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        super().__init__(recogniser, top_k, explain, wider)
        self.ids = {name: str(label) for label, name in enumerate(recogniser.class_names)}
        self.head = {
            "info": {
                "format_version": FORMAT_VERSION,
                "detector": "none: whole images",
                "classifier": recogniser.run.name,
                "classifier_metadata": {"threshold": recogniser.threshold_facts},
            },
            "detection_categories": dict(_DETECTED.values()),
            "classification_categories": {id_: name for name, id_ in self.ids.items()},
        }
        self.comma = ""

    def start(self) -> list[Line]:
        return [(json_text(self.head)[:-1] + ', "images": [', "")]

    def row(self, v: Verdict) -> list[Line]:
        before, self.comma = self.comma, ","
        return [(before + json_text(self._image(v)), "")]

    def end(self, totals: Totals, complete: bool) -> list[Line]:
        return [("]}", "")] if complete else []

    def _image(self, v: Verdict) -> dict[str, Any]:
        if v.error:
            return {"file": v.path, "failure": v.error, "detections": None}
        kind: Kind = "animal" if v.unknown else kind_of(v.label)
        if kind == "blank":
            return {"file": v.path, "detections": []}
        detection: dict[str, Any] = {"category": _DETECTED[kind][0], "conf": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0]}
        if not v.unknown:
            detection["classifications"] = [[self.ids[name], share] for name, share in _falling(v.top)]
        return {"file": v.path, "detections": [detection]}


def _falling(top: Ranked) -> Ranked:
    """The prediction and what is not likelier: the format wants a falling order, and a detector may predict another."""
    return [pair for pair in top if pair[1] <= top[0][1]]
