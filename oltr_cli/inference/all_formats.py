"""The formats of ``oltr predict`` by name. Camtrap DP is a folder; all others go to stdout."""

from oltr_cli.inference.coco_format import Coco
from oltr_cli.inference.megadetector_format import MegaDetector
from oltr_cli.inference.verdict_formats import FORMATS, Lines

STREAMS: dict[str, type[Lines]] = {**FORMATS, "megadetector": MegaDetector, "coco": Coco}
