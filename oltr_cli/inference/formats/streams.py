"""The formats of ``oltr predict`` by name. Camtrap DP is a folder; all others go to stdout."""

from oltr_cli.inference.formats.coco import Coco
from oltr_cli.inference.formats.megadetector import MegaDetector
from oltr_cli.inference.formats.rows import FORMATS, Lines

STREAMS: dict[str, type[Lines]] = {**FORMATS, "megadetector": MegaDetector, "coco": Coco}
