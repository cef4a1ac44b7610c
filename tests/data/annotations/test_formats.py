"""Readers of annotation files, from the files to masks, beside what the tools themselves draw of the same files."""

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from losslab.data.annotations.drawing import ImageSize, draw_mask, take_majority
from losslab.data.annotations.formats import detect_format, read_annotations
from losslab.data.annotations.shapes import Polygons
from losslab.errors import InputError
from tests.data.annotations.scenes import (
    HEIGHT,
    LABELS,
    WIDTH,
    Scene,
    describe_coco,
    describe_cvat,
    describe_labelme,
    draw_scenes,
    encode_counts,
    write_images,
    write_json,
    write_voc,
    write_yolo,
)

Mask = npt.NDArray[np.uint8]
SCENES = draw_scenes()
NUMBERS = {"background": 0} | {label: number for number, label in enumerate(LABELS, start=1)}
SIZE = ImageSize(WIDTH, HEIGHT)


def draw_all(source: Path, form: str, numbers: Mapping[str, int] = NUMBERS, rest: int = 0) -> list[Mask]:
    """The masks of a source, in the order of its images; its format is the one that is detected."""
    assert detect_format(source) == form
    return [draw_mask(image, SIZE, numbers, rest)[0] for image in read_annotations(source).images]


def fill(corners: Any) -> npt.NDArray[np.bool_]:
    return Polygons([np.asarray(corners, np.float64)]).cover(HEIGHT, WIDTH)


def compose(layers: Sequence[tuple[int, npt.NDArray[np.bool_]]], rest: int = 0) -> Mask:
    mask = np.full((HEIGHT, WIDTH), rest, np.uint8)
    for number, covered in layers:
        mask[covered] = number
    return mask


def assert_same(drawn: Sequence[Mask], expected: Sequence[Mask]) -> None:
    assert len(drawn) == len(expected) > 0
    for mask, reference in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(mask, reference)
    assert len(np.unique(np.stack(drawn))) > 2


def describe_kinds_of_segmentation(scenes: Sequence[Scene]) -> dict[str, Any]:
    """COCO with two polygons in one, run lengths as numbers and as text, and a crowd that comes last and covers much."""
    content = describe_coco(scenes)
    first, second, third, fourth = content["annotations"][:4]
    first["segmentation"].append([1, 1, 9, 2, 4, 8.5])
    second["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [95, 20, 10, 20, HEIGHT * WIDTH - 145]}
    third["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": encode_counts([40, 300, 500, 9, 351])}
    fourth |= {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 600, 600]}}
    return content


def test_coco_covers_what_pycocotools_says(tmp_path: Path) -> None:
    api = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = write_json(tmp_path / "instances.json", describe_kinds_of_segmentation(SCENES))
    coco = api.COCO(str(path))
    expected = []
    for image in coco.dataset["images"]:
        shapes = coco.loadAnns(coco.getAnnIds(image["id"]))
        shapes.sort(key=lambda each: not each["iscrowd"])
        numbers = [255 if each["iscrowd"] else each["category_id"] - 2 for each in shapes]
        expected.append(
            compose([(number, coco.annToMask(each) > 0) for number, each in zip(numbers, shapes, strict=True)])
        )
    assert_same(draw_all(path, "coco"), expected)


def test_coco_polygons_lie_in_the_order_of_the_file_and_crowds_below(tmp_path: Path) -> None:
    content = describe_coco(SCENES)
    crowd = {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 600, 600]}}
    content["annotations"].append({"id": 9, "image_id": 10, "category_id": 3} | crowd)
    path = write_json(tmp_path / "stuff_val2017.json", content)
    layers = [[(NUMBERS[label], fill(corners)) for label, corners in scene.objects] for scene in SCENES]
    left = np.arange(WIDTH)[None].repeat(HEIGHT, axis=0) < 20
    layers[0].insert(0, (255, left))
    assert_same(draw_all(path, "coco"), [compose(each) for each in layers])
    assert {image.split for image in read_annotations(path).images} == {"val"}


def test_coco_panoptic_has_the_category_of_each_segment(tmp_path: Path) -> None:
    """The rule of panopticapi: id = red + 256 green + 65536 blue, and 0 is void."""
    generator = np.random.default_rng(0)
    ids = {7: 3, 300: 4, 70000: 5, 70001: 3}
    annotations, expected = [], []
    for number, scene in enumerate(SCENES):
        pan = np.kron(generator.choice([0, *ids], (3, 4)), np.ones((10, 10), np.int64))
        colours = np.stack([pan % 256, pan // 256 % 256, pan // 65536], axis=2).astype(np.uint8)
        path = tmp_path / f"panoptic_train/{scene.name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(colours).save(path)
        segments = [{"id": key, "category_id": category, "iscrowd": int(key == 70001)} for key, category in ids.items()]
        annotations.append({"image_id": 10 + number, "file_name": path.name, "segments_info": segments})
        expected.append(compose([(category - 2, pan == key) for key, category in ids.items() if key != 70001], 255))
    content = describe_coco(SCENES) | {"annotations": annotations}
    path = write_json(tmp_path / "panoptic_train.json", content)
    assert_same(draw_all(path, "coco", rest=255), expected)
    assert read_annotations(path).is_dense


def draw_by_labelme(shape: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """What labelme.utils.shape_to_mask, and shapes_to_label for masks, draw of a shape (version 6.3)."""
    points = [tuple(point) for point in shape["points"]]
    canvas = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8))
    draw = ImageDraw.Draw(canvas)
    if shape["shape_type"] == "mask":
        (x1, y1), (x2, y2) = np.asarray(points).astype(int)
        covered = np.zeros((HEIGHT, WIDTH), np.bool_)
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
        covered[y1 : y2 + 1, x1 : x2 + 1] = pixels
        return covered
    if shape["shape_type"] == "circle":
        (cx, cy), (px, py) = points
        d = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
        draw.ellipse(((cx - d, cy - d), (cx + d, cy + d)), outline=1, fill=1)
    elif shape["shape_type"] == "rectangle":
        (x0, y0), (x1, y1) = points
        draw.rectangle(((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))), outline=1, fill=1)
    else:
        draw.polygon(xy=points, outline=1, fill=1)
    return np.array(canvas, bool)


def test_labelme_is_drawn_as_labelme_draws(tmp_path: Path) -> None:
    expected = []
    for scene in SCENES:
        content = describe_labelme(scene)
        write_json(tmp_path / f"{scene.name}.json", content)
        expected.append(compose([(NUMBERS[each["label"]], draw_by_labelme(each)) for each in content["shapes"]]))
    assert_same(draw_all(tmp_path, "labelme"), expected)


def test_cvat_lies_in_the_order_of_z_order(tmp_path: Path) -> None:
    """Datumaro's rule: polygons and boxes as pycocotools has them, run lengths along the rows of a mask's box."""
    path = tmp_path / "annotations.xml"
    path.write_text(describe_cvat(SCENES), encoding="utf-8")
    box = fill([[3.2, 4], [20.7, 4], [20.7, 9.9], [3.2, 9.9]])
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[20:23, 30:34] = [[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1]]
    expected = []
    for scene in SCENES:
        polygons = [(NUMBERS[label], fill(corners)) for label, corners in scene.objects]
        # z_order: 0 for the first polygon, -4 for the last; the box has the -2 of the third, and comes later in the file.
        expected.append(compose([*polygons[:1:-1], (3, box), *polygons[1::-1], (2, mask)]))
    assert_same(draw_all(path, "cvat"), expected)


def test_cvat_turns_boxes_and_ellipses_clockwise(tmp_path: Path) -> None:
    shapes = (
        '<box label="cell" xtl="10" ytl="8" xbr="20" ybr="12" rotation="90.00"/><ellipse label="dirt" cx="30" cy="10" '
        'rx="8" ry="2" rotation="45"/><polyline label="dirt" points="1,1;2,2"/><tag label="dirt"/>'
    )
    content = f'<annotations><image id="0" name="a" width="{WIDTH}" height="{HEIGHT}">{shapes}</image></annotations>'
    path = tmp_path / "a.xml"
    path.write_text(content, encoding="utf-8")
    annotations = read_annotations(path)
    mask, _ = draw_mask(annotations.images[0], SIZE, {"cell": 1, "dirt": 2})
    np.testing.assert_array_equal(mask == 1, fill([[13, 5], [17, 5], [17, 15], [13, 15]]))
    assert mask[14, 34] == 2 and mask[6, 34] == 0 and mask[14, 26] == 0
    assert annotations.left_out == {"shapes without an area (polyline)": 1}


def test_voc_reads_colours_or_numbers_and_the_border_is_void(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = np.array([0, 1, 2, 3, 255], np.uint8)
    masks = {scene.name: np.kron(generator.choice(values, (6, 8)), np.ones((5, 5), np.uint8)) for scene in SCENES}
    folder = write_voc(tmp_path / "voc", masks, {"train": ["im0", "im1"], "val": ["im2"], "trainval": ["im0", "im3"]})
    annotations = read_annotations(folder)
    assert [image.split for image in annotations.images] == ["train", "train", "val", None]
    assert annotations.labels[0] == "background" and {*annotations.labels} == {"background", *LABELS}
    assert_same(draw_all(folder, "voc"), list(masks.values()))
    (folder / "labelmap.txt").unlink()
    for name, mask in masks.items():  # numbers in grey, named by VOC's own list
        Image.fromarray(mask).save(folder / f"SegmentationClass/{name}.png")
    numbers = {label: number for number, label in enumerate(read_annotations(folder).labels)}
    assert numbers["person"] == 15
    assert_same(draw_all(folder, "voc", numbers), list(masks.values()))


CITY = {"cell": "car", "vessel": "cargroup", "dirt": "license plate"}


def draw_by_cityscapes(objects: Sequence[Any]) -> Mask:
    """What cityscapesscripts' createLabelImage draws in label ids."""
    canvas = Image.new("L", (WIDTH, HEIGHT), 0)
    ids = {"road": 7, "car": 26, "cargroup": 26}
    for each in objects:
        if each["label"] in ids and not each.get("deleted"):
            ImageDraw.Draw(canvas).polygon([(x, y) for x, y in each["polygon"]], fill=ids[each["label"]])
    return np.asarray(canvas)


def test_cityscapes_polygons_are_drawn_as_its_scripts_do(tmp_path: Path) -> None:
    expected = []
    for scene in SCENES:
        objects: list[dict[str, Any]] = [{"label": "road", "polygon": [[0, 12], [39, 10], [39, 29], [0, 29]]}]
        objects += [{"label": CITY[label], "polygon": np.round(corners).tolist()} for label, corners in scene.objects]
        objects[3]["deleted"] = 1
        content = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}
        write_json(tmp_path / f"gtFine/train/ulm/{scene.name}_gtFine_polygons.json", content)
        expected.append(draw_by_cityscapes(objects))
    annotations = read_annotations(tmp_path / "gtFine")
    numbers = {label: number for number, label in enumerate(annotations.labels)}
    assert (numbers["road"], numbers["car"], numbers["bicycle"]) == (7, 26, 33)
    assert_same(draw_all(tmp_path / "gtFine", "cityscapes", numbers), expected)
    assert annotations.images[0].split == "train"
    scored = [label for label in annotations.labels if label not in annotations.void]
    assert len(scored) == 19 and scored[0] == "road" and scored[-1] == "bicycle"
    for scene, mask in zip(SCENES, expected, strict=True):  # label ids, which come before polygons
        Image.fromarray(np.flipud(mask)).save(tmp_path / f"gtFine/train/ulm/{scene.name}_gtFine_labelIds.png")
    assert_same(draw_all(tmp_path / "gtFine", "cityscapes", numbers), [np.flipud(mask) for mask in expected])


def test_yolo_scales_its_outlines_to_the_image(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path, SCENES)
    (folder / "labels/train/im0.txt").open("a").write("\n0 0.5 0.5 0.2 0.2\n")  # a box
    expected = []
    for scene in SCENES:
        scaled = [
            (label, [[float(f"{x / WIDTH:.6f}") * WIDTH, float(f"{y / HEIGHT:.6f}") * HEIGHT] for x, y in corners])
            for label, corners in scene.objects
        ]
        expected.append(compose([(NUMBERS[label], fill(corners)) for label, corners in scaled]))
    assert_same(draw_all(folder, "yolo"), expected)
    annotations = read_annotations(folder / "data.yaml")
    assert annotations.left_out == {"objects without an outline (boxes)": 1}
    assert annotations.images[0].names == ["images/train/im0", "train/im0"] and annotations.images[0].split == "train"


def test_one_mask_for_each_object_is_read(tmp_path: Path) -> None:
    expected = []
    for scene in SCENES:
        layers = []
        for number, (_, corners) in enumerate(scene.objects):
            covered = fill(corners)
            (tmp_path / f"{scene.name}/masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(covered.astype(np.uint8) * 255).save(tmp_path / f"{scene.name}/masks/{number}.png")
            layers.append((1, covered))
        expected.append(compose(layers))
    drawn = draw_all(tmp_path, "masks", {"foreground": 1})
    for mask, reference in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(mask, reference)


def test_majority_of_two_is_both_and_of_three_two() -> None:
    votes = [np.array([row], np.uint8) for row in ([0, 1, 1, 2, 255], [0, 1, 2, 2, 255], [0, 2, 3, 1, 0])]
    for masks in (votes, votes[:2]):
        majority, disputed = take_majority(masks)
        assert majority.tolist() == [[0, 1, 255, 2, 255]] and round(disputed, 6) == 0.2  # the last is void by majority


def change_coco(**changes: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = describe_coco(SCENES[:1])
        content["annotations"][0] |= changes
        return write_json(folder / "a.json", content)

    return write


def write(name: str, text: str) -> Callable[[Path], Path]:
    def write_file(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write_file


def write_yolo_line(line: str) -> Callable[[Path], Path]:
    def write_file(folder: Path) -> Path:
        write_yolo(folder, SCENES[:1])
        (folder / "labels/train/im0.txt").write_text(line, encoding="utf-8")
        return folder

    return write_file


def change_labelme(**changes: Any) -> Callable[[Path], Path]:
    def write_file(folder: Path) -> Path:
        content = describe_labelme(SCENES[0])
        content["shapes"][0] |= changes
        return write_json(folder / "a.json", content)

    return write_file


@pytest.mark.parametrize(
    ("make", "form", "message"),
    [
        (write("a.json", '{"images": [], "annotations": [{"id": 1,]}'), "coco", "a.json: not valid JSON: .*line 1 column 41"),
        (write("a.json", '{"images": [], "annotations": []}'), "coco", "a.json: lacks 'categories', which COCO has there"),
        (
            write(
                "a.json",
                '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}',
            ),
            "coco",
            "a.json: the categories cat and dog have the same id, 1",
        ),
        (write("a.json", "[1]"), "coco", "a.json: is not as COCO has it: a list, not an object"),
        (write("a.json", '{"images": 5, "annotations": [], "categories": []}'), "coco", "COCO has it: 'images' is no list"),
        (write("a.json", '{"images": [], "annotations": [1], "categories": []}'), "coco", "a.json: .* 'annotations' is no list of"),
        (write("a.json", "{}"), "masks", "a.json is not a folder, which this format needs"),
        (write("a.json", "{}"), "cityscapes", "a.json is not a folder, which this format needs"),
        (write("a.json", "{}"), "yolo", "a.json is neither a folder of YOLO nor its data.yaml"),
        (write("a.json", "{}"), "voc", "a.json lacks the folder SegmentationClass of Pascal VOC"),
        (write("classes.txt", "cell"), "yolo", "holds no .txt file of labels"),
        (change_coco(image_id=7), "coco", "annotation 0: belongs to image 7, which the file does not list"),
        (change_coco(category_id=7), "coco", "annotation 0: has category 7, which the file does not list"),
        (change_coco(segmentation=[[1, 2, 3]]), "coco", "annotation 0: is not as COCO has it: 3 coordinates, which are no pairs"),
        (change_coco(segmentation=[[1, 2, "x", 3, 4, 5]]), "coco", "annotation 0: is not as COCO has it: "),
        (change_coco(segmentation=[[1, 2, 1e30, 3, 4, 5]]), "coco", "annotation 0: .* far outside any image"),
        (change_coco(segmentation={"size": [3, 4], "counts": [12]}), "coco", "run lengths for 4 x 3 in an image of 40 x 30"),
        (change_coco(segmentation={"size": [30, 40], "counts": [12]}), "coco", "run lengths of 12 pixels for 40 x 30"),
        (change_labelme(shape_type="blob"), "labelme", "a.json, shape 1: is not as LabelMe has it: no shape_type is called 'blob'"),
        (change_labelme(points=[[1, 2]], shape_type="circle"), "labelme", "shape 1: .*a circle of 1 points, not two"),
        (change_labelme(label=None), "labelme", "shape 1: .*a label is None, not a name"),
        (change_labelme(points=[[1, 2], [3, 4]], shape_type="mask", mask="AAAA"), "labelme", "shape 1: .*its mask is no PNG"),
        (write("a.xml", "<annotations>\n<image"), "cvat", "a.xml: not valid XML: .*line 2"),
        (write("a.xml", "<annotation/>"), "cvat", "a.xml: holds <annotation>, not the <annotations> of CVAT"),
        (write("a.xml", '<annotations><track id="0"/></annotations>'), "cvat", "a.xml: holds tracks of a video"),
        (write("a.xml", '<annotations><image name="b"/></annotations>'), "cvat", "a.xml, image b: lacks 'width'"),
        (write_yolo_line("7 0 0 1 1 0 1"), "yolo", "im0.txt, line 1: class 7 is none of the 3 that are named, 0 to 2"),
        (write_yolo_line("\n1 0 0 1 1 0"), "yolo", "im0.txt, line 2: .* 5 coordinates, which are no pairs"),
        (write_yolo_line("1 0 0 12 0 12 9"), "yolo", "im0.txt, line 1: .*a coordinate is 12; all are parts of the image's width"),
        (write_yolo_line("cell 0 0 1 1"), "yolo", "im0.txt, line 1: .*could not convert string to float: 'cell'"),
    ],
)  # fmt: skip
def test_broken_file_gets_one_line_that_names_the_place(
    tmp_path: Path, make: Callable[[Path], Path], form: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_annotations(make(tmp_path), form)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)


def test_format_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is in no format that is known; say which with --format coco\|labelme"):
        detect_format(tmp_path)
    write_json(tmp_path / "a.json", describe_coco(SCENES))
    (tmp_path / "b.xml").write_text(describe_cvat(SCENES), encoding="utf-8")
    with pytest.raises(InputError, match="may be coco or cvat; say which with --format"):
        detect_format(tmp_path)
    with pytest.raises(InputError, match="gone does not exist"):
        read_annotations(tmp_path / "gone")


def test_size_that_fits_no_image_is_an_error_and_the_turn_follows_the_size(tmp_path: Path) -> None:
    corner = {"segmentation": [[0, 0, 20, 0, 20, 10, 0, 10]]}
    content = describe_coco(SCENES[:1])
    content["annotations"] = [content["annotations"][0] | corner]
    image = read_annotations(write_json(tmp_path / "a.json", content)).images[0]
    with pytest.raises(
        InputError, match=r"a.json, image 10: is for an image of 40 x 30 pixels, but im0.png has 41 x 30"
    ):
        draw_mask(image, ImageSize(41, 30), NUMBERS)
    as_shown, _ = draw_mask(image, ImageSize(30, 40, 6), NUMBERS)
    assert as_shown.shape == (30, 40) and as_shown[:10, :20].all() and as_shown.sum() == 200
    as_stored, _ = draw_mask(image, ImageSize(40, 30, 6), NUMBERS)
    np.testing.assert_array_equal(as_stored, as_shown)
    upside_down, _ = draw_mask(image, ImageSize(40, 30, 3), NUMBERS)  # the pixels stay as they are stored
    np.testing.assert_array_equal(upside_down, as_shown[::-1, ::-1])


def test_read_files_name_json_of_any_spelling(tmp_path: Path) -> None:
    text = json.dumps(describe_coco(SCENES)).replace('"images"', '\n "images"')
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert detect_format(tmp_path / "a.json") == "coco"
    assert write_images(tmp_path / "i", SCENES).is_dir()
