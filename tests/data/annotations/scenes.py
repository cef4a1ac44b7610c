"""Small scenes of labelled shapes, and the files that each tool would write of them."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LABELS = ("cell", "vessel", "dirt")
WIDTH, HEIGHT = 40, 30
PALETTE = {"background": (0, 0, 0), "cell": (128, 0, 0), "vessel": (0, 128, 0), "dirt": (10, 20, 200)}


@dataclass(frozen=True)
class Scene:
    name: str
    objects: Sequence[tuple[str, list[list[float]]]]
    """Label and corners of each polygon."""


def draw_scenes(count: int = 4, seed: int = 0) -> list[Scene]:
    """Scenes of five polygons, some of which reach beyond the image, and overlap."""
    generator = np.random.default_rng(seed)
    scenes = []
    for number in range(count):
        objects = []
        for place in range(5):
            middle = generator.uniform((0, 0), (WIDTH, HEIGHT))
            corners = middle + generator.uniform(-14, 14, (generator.integers(3, 8), 2))
            objects.append((LABELS[(number + place) % 3], np.round(corners, 2).tolist()))
        scenes.append(Scene(f"im{number}", objects))
    return scenes


def write_images(folder: Path, scenes: Sequence[Scene], suffix: str = ".png", **options: Any) -> Path:
    for number, scene in enumerate(scenes):
        path = folder / f"{scene.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(path, **options)
    return folder


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def describe_coco(scenes: Sequence[Scene], prefix: str = "") -> dict[str, Any]:
    images = [
        {"id": 10 + number, "file_name": f"{prefix}{scene.name}.png", "width": WIDTH, "height": HEIGHT}
        for number, scene in enumerate(scenes)
    ]
    annotations = [
        {
            "id": 100 * number + place,
            "image_id": 10 + number,
            "category_id": 3 + LABELS.index(label),
            "iscrowd": 0,
            "segmentation": [np.ravel(corners).tolist()],
        }
        for number, scene in enumerate(scenes)
        for place, (label, corners) in enumerate(scene.objects)
    ]
    categories = [{"id": 3 + number, "name": label} for number, label in enumerate(LABELS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def encode_counts(counts: Sequence[int]) -> str:
    """COCO's text for run lengths, as rleToString of maskApi.c writes it."""
    text = ""
    for place, count in enumerate(counts):
        rest, goes_on = count - (counts[place - 2] if place > 2 else 0), True
        while goes_on:
            bits = rest & 31
            rest >>= 5
            goes_on = rest != -1 if bits & 16 else rest != 0
            text += chr((bits | 32 if goes_on else bits) + 48)
    return text


def describe_labelme(scene: Scene, **changes: Any) -> dict[str, Any]:
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": corners, "shape_type": "polygon", "group_id": place, "flags": {}}
        for place, (label, corners) in enumerate(scene.objects)
    ]
    shapes.append({"label": "dirt", "points": [[30.5, 20], [5.2, 8]], "shape_type": "rectangle"})
    shapes.append({"label": "cell", "points": [[10.5, 9], [14, 12.3]], "shape_type": "circle"})
    corner = np.eye(6, 8, dtype=np.uint8) * 255
    mask = {"label": "vessel", "points": [[3, 4], [10, 9]], "shape_type": "mask", "mask": encode_png(corner)}
    sized = {"imageWidth": WIDTH, "imageHeight": HEIGHT, "imagePath": f"..\\pictures\\{scene.name}.png"}
    return {"version": "5.4.1", "flags": {}, "shapes": [*shapes, mask], "imageData": None} | sized | changes


def encode_png(pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def describe_cvat(scenes: Sequence[Scene]) -> str:
    """A file of CVAT for images 1.1, in which later shapes lie deeper."""
    images = []
    for number, scene in enumerate(scenes):
        shapes = [
            f'<polygon label="{label}" occluded="0" points="{";".join(f"{x:.2f},{y:.2f}" for x, y in corners)}" '
            f'z_order="{-place}"></polygon>'
            for place, (label, corners) in enumerate(scene.objects)
        ]
        shapes.append('<box label="dirt" xtl="3.20" ytl="4.00" xbr="20.70" ybr="9.90" z_order="-2"></box>')
        shapes.append(
            '<mask label="vessel" rle="2, 3, 4, 1, 0, 2" left="30" top="20" width="4" height="3" z_order="9"></mask>'
        )
        images.append(
            f'<image id="{number}" name="{scene.name}.png" width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</image>'
        )
    labels = "".join(f"<label><name>{label}</name><attributes></attributes></label>" for label in LABELS)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}{"".join(images)}</annotations>'


def write_voc(folder: Path, masks: dict[str, Any], splits: dict[str, list[str]]) -> Path:
    """Label maps of 0, 1 to 3 and 255 as palette files of SegmentationClass, with a labelmap.txt and lists."""
    colours = [*PALETTE.values(), *[(0, 0, 0)] * 251, (224, 224, 192)]
    (folder / "SegmentationClass").mkdir(parents=True)
    for name, mask in masks.items():
        image = Image.fromarray(mask)
        image.putpalette([part for colour in colours for part in colour])
        image.save(folder / f"SegmentationClass/{name}.png")
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in sorted(PALETTE.items())]
    (folder / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]), encoding="utf-8")
    for split, names in splits.items():
        path = folder / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names), encoding="utf-8")
    return folder


def write_yolo(folder: Path, scenes: Sequence[Scene], split: str = "train") -> Path:
    (folder / f"labels/{split}").mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        lines = [
            f"{LABELS.index(label)} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)
            for label, corners in scene.objects
        ]
        (folder / f"labels/{split}/{scene.name}.txt").write_text("\n".join(lines), encoding="utf-8")
    names = "\n".join(f"  {number}: {label}" for number, label in enumerate(LABELS))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames:\n{names}\n", encoding="utf-8")
    return folder
