"""Annotation files of other tools, read into one form and drawn as masks."""

from typing import Literal

FormatName = Literal["coco", "labelme", "cvat", "voc", "cityscapes", "yolo", "masks"]
