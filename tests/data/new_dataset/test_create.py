import shutil
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from losslab.cards import CLASS_LIMIT, Card, read_card
from losslab.data.new_dataset.create import NewDataset, create_dataset
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.readers import read_layout
from losslab.errors import InputError

Draw = Callable[[int], Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo/data/catalog").mkdir(parents=True)
    return tmp_path / "repo"


def labels(*values: int) -> Draw:
    """Masks of 20 x 30 with a row for each value, the rest being the first."""

    def draw(number: int) -> Any:
        mask = np.full((20, 30), values[0], np.uint16 if max(values) > 255 else np.uint8)
        for row, value in enumerate(values):
            mask[row] = value
        return mask

    return draw


TWO = labels(0, 255)


def draw_pairs(
    folder: Path, mask: Draw = TWO, suffix: str = "", count: int = 4, kind: str = "png"
) -> tuple[Path, Path]:
    images, masks = folder / "pictures", folder / "drawn"
    for place in (images, masks):
        place.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((20, 30, 3), 9 * number, np.uint8)).save(images / f"p{number % 3}_{number}.jpg")
        Image.fromarray(mask(number)).save(masks / f"p{number % 3}_{number}{suffix}.{kind}")
    return images, masks


def make(root: Path, folders: tuple[Path, Path], **said: Any) -> tuple[NewDataset, Card]:
    made = create_dataset(NewDatasetOptions(name="cells", images=folders[0], masks=folders[1], **said), root)
    return made, read_card("cells", root / "data/catalog")


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_card_says_what_the_files_hold_and_reads_their_copies(root: Path, tmp_path: Path) -> None:
    folders = draw_pairs(tmp_path, suffix="_mask")
    before = {path: content for path, content in everything(tmp_path).items() if root not in path.parents}
    made, card = make(root, folders, classes=["background", "cell"], title="My cells: first", group=r"^(p\d)_")
    assert (card.title, card.mask_suffix, card.layout, card.void) == ("My cells: first", "_mask", "folders", [])
    assert [(c.name, c.values) for c in card.classes] == [("background", [0]), ("cell", [255])]
    assert (card.group, made.groups) == (r"^(p\d)_", 3)
    own = root / "data/raw/cells/own"
    listing = read_layout(card, own)
    assert [sample.name for sample in listing.samples] == ["p0_0", "p0_3", "p1_1", "p2_2"] and listing.skipped == []
    assert list(card.find_groups([sample.name for sample in listing.samples]).values()) == ["p0", "p0", "p1", "p2"]
    for folder, kind in zip(folders, ("images", "masks"), strict=True):
        assert {path.name: path.read_bytes() for path in (own / kind).iterdir()} == {
            path.name: path.read_bytes() for path in folder.iterdir()
        }
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    assert (made.own, made.copied) == (own, (8, size))
    assert {path: content for path, content in everything(tmp_path).items() if root not in path.parents} == before


def test_card_is_written_as_a_person_would(root: Path, tmp_path: Path) -> None:
    make(root, draw_pairs(tmp_path, labels(0, 3, 255)), classes=["no", "cell"], group=r"^(p\d)_")
    assert (root / "data/catalog/cells.yaml").read_text(encoding="utf-8").splitlines()[1:] == [
        "title: cells",
        "licence: not stated",
        "citation: none",
        "home: null",
        "source: {own: null} # data/raw/cells/own, tracked with dvc add",
        "layout: folders",
        "classes:",
        "  - {name: 'no', color: [30, 30, 30], values: [0]} # 90.0 %",
        "  - {name: cell, color: [230, 159, 0], values: [3]} # 5.0 %",
        "void: [255] # 5.0 %",
        r"group: '^(p\d)_'",
    ]


def test_data_in_place_are_used_in_place(root: Path) -> None:
    own = root / "data/raw/cells/own"
    images, masks = draw_pairs(own)
    folders = images.rename(own / "images"), masks.rename(own / "masks")
    before = everything(own)
    made, card = make(root, folders)
    assert made.copied is None and everything(own) == before
    assert len(read_layout(card, own).samples) == 4


@pytest.mark.parametrize(
    ("values", "void", "expected", "left_out"),
    [
        ((0, 255), None, [("background", 0), ("foreground", 255)], []),
        ((0, 1), None, [("background", 0), ("foreground", 1)], []),
        ((0, 2), None, [("class_0", 0), ("class_1", 2)], []),
        ((1, 2, 300), None, [("class_0", 1), ("class_1", 2), ("class_2", 300)], []),
        ((0, 1, 255), None, [("background", 0), ("foreground", 1)], [255]),
        ((0, 1, 255), [], [("class_0", 0), ("class_1", 1), ("class_2", 255)], []),
        ((0, 1, 9, 255), [9, 255, 7], [("background", 0), ("foreground", 1)], [9, 255, 7]),
    ],
)
def test_classes_and_void_follow_from_the_values(
    root: Path, tmp_path: Path, values: tuple[int, ...], void: Any, expected: Any, left_out: list[int]
) -> None:
    made, card = make(root, draw_pairs(tmp_path, labels(*values)), void=void)
    assert [(c.name, c.values) for c in card.classes] == [(name, [value]) for name, value in expected]
    assert card.void == left_out == list(made.void)
    assert made.void_by_custom == (void is None and bool(left_out))
    assert sum(c.share for c in made.classes) + sum(made.void.values()) == pytest.approx(1)


def test_masks_in_colours_make_classes_of_colours(root: Path, tmp_path: Path) -> None:
    def mask(number: int) -> Any:
        drawn = np.zeros((20, 30, 3), np.uint8)
        drawn[1 : 1 + number] = (200, 10, 0)  # the first is black alone, so it could be one of numbers
        drawn[19] = (0, 10, 200)
        return drawn if number else drawn[..., 1] * 0

    made, card = make(root, draw_pairs(tmp_path, mask), classes=["back", "blue", "red"])
    assert made.scan.in_colours and card.in_colours
    assert [(c.name, c.values, c.color) for c in card.classes] == [
        ("back", [(0, 0, 0)], (0, 0, 0)),
        ("blue", [(0, 10, 200)], (0, 10, 200)),
        ("red", [(200, 10, 0)], (200, 10, 0)),
    ]
    assert [c.share for c in made.classes] == pytest.approx([(80 - 6 - 3) / 80, 3 / 80, 6 / 80])


def test_colours_can_be_void(root: Path, tmp_path: Path) -> None:
    def mask(number: int) -> Any:
        return np.array([[[0, 0, 0], [200, 10, 0], [224, 224, 192]]] * 4, np.uint8)

    made, card = make(root, draw_pairs(tmp_path, mask), void=[(224, 224, 192)])
    assert card.void == [(224, 224, 192)] and [c.name for c in card.classes] == ["background", "foreground"]
    assert len(made.scan.other_sizes) == 4


def disc(radius: float, blur: float = 0) -> Draw:
    """Masks of 0 and 255: a disc whose edge is sharp, or as wide as `blur` pixels."""

    def draw(number: int) -> Any:
        rows, columns = np.mgrid[:20, :30]
        inside = radius - np.hypot(rows - 10, columns - 10 - number)
        return (np.clip(inside / max(blur, 1e-6) + 0.5, 0, 1) * 255).astype(np.uint8)

    return draw


def bits(number: int) -> Any:
    """The same disc in all masks, in 1 bit in every other."""
    full = disc(7.1)(0)
    return full if number % 2 else full > 0


def trimap(number: int) -> Any:
    """An object of 255, and a narrow band around it that is not decided."""
    return np.where(disc(7.1)(number) > 0, 255, np.where(disc(8.5)(number) > 0, 128, 0)).astype(np.uint8)


def bordered(number: int) -> Any:
    """Objects of 1 and 2 with a void border, as in PASCAL VOC."""
    return np.where(disc(7.1)(number) > 0, 1 + number % 2, np.where(disc(8)(number) > 0, 255, 0)).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (
            bits,
            "drawn: 255 is void where it stands beside other classes, but no mask has both "
            r"\(p0_3.png holds 0 and 255, p0_0.png 0 and 1\); say what is meant: --foreground nonzero \(255 and all ",
        ),
        (
            disc(7.1, blur=1),
            "drawn: values from 1 to 254 lie only along the edges of 255, as if 255 were the object and",
        ),
        (disc(9, blur=2), "values from 1 to 254 lie only along the edges of 255"),
        (trimap, "values from 1 to 254 lie only along the edges of 255"),
        (
            labels(0, 85, 170, 255),
            "the values 0, 85, 170, 255 are spread evenly, so 255 may be a class .p0_0.png holds 0,",
        ),
    ],
)
def test_255_that_may_be_the_object_is_not_called_void(root: Path, tmp_path: Path, mask: Draw, complaint: str) -> None:
    folders = draw_pairs(tmp_path, mask)
    with pytest.raises(InputError, match=complaint):
        make(root, folders)
    made, card = make(root, folders, foreground=True)
    assert [(c.name, c.values) for c in card.classes] == [("background", [0]), ("foreground", ["nonzero"])]
    assert card.void == [] and sum(c.share for c in made.classes) == pytest.approx(1)
    (root / "data/catalog/cells.yaml").unlink()
    shutil.rmtree(root / "data/raw")
    assert make(root, folders, void=[255])[1].void == [255]


def test_border_of_255_around_objects_is_void(root: Path, tmp_path: Path) -> None:
    assert make(root, draw_pairs(tmp_path, bordered))[1].void == [255]


def save_in_palette(path: Path, mask: Any, *colours: tuple[int, int, int]) -> None:
    palette = Image.fromarray(mask)
    palette.putpalette([part for colour in colours for part in colour])
    palette.save(path)


def test_palettes_that_differ_are_read_as_colours(root: Path, tmp_path: Path) -> None:
    images, masks = draw_pairs(tmp_path, labels(0, 1))
    for number, path in enumerate(sorted(masks.iterdir())):
        colours = [(0, 0, 0), (200, 0, 0), (0, 0, 200)]
        save_in_palette(path, labels(0, 1)(0), colours[0], colours[1 + number % 2])
    made, card = make(root, (images, masks))
    assert [c.values for c in card.classes] == [[(0, 0, 0)], [(0, 0, 200)], [(200, 0, 0)]]
    assert made.scan.palettes == "1 is [0, 0, 200], but [200, 0, 0] in p0_0.png"
    Image.fromarray(labels(0, 1)(0)).save(masks / "p1_1.png")
    with pytest.raises(
        InputError, match=r"p1_1.png: holds numbers without colours, but palettes give one number sever"
    ):
        create_dataset(NewDatasetOptions(name="other", images=images, masks=masks), root)


def test_one_palette_is_read_as_its_numbers(root: Path, tmp_path: Path) -> None:
    images, masks = draw_pairs(tmp_path, labels(0, 1))
    for path in masks.iterdir():
        save_in_palette(path, labels(0, 1)(0), (0, 0, 0), (200, 0, 0))
    assert [c.values for c in make(root, (images, masks))[1].classes] == [[0], [1]]


def counted(number: int) -> Any:
    """Squares, numbered in each mask from 1."""
    mask = np.zeros((20, 30), np.uint16)
    for index in range(3 + number):
        mask[1 + index // 3 * 5 :, 1 + index % 3 * 9 :][:3, :7] = index + 1
    return mask


def numbered(number: int) -> Any:
    """Squares, numbered through all masks."""
    return np.where(counted(number) > 0, counted(number) + 70 * number, 0).astype(np.uint16)


def panoptic(number: int) -> Any:
    """Squares, each in a colour of its own, as in COCO panoptic; sky and road repeat theirs, in two pieces."""
    mask = np.stack([numbered(number) * 7 % 256, numbered(number) % 256, counted(number) * 0 + 9], axis=2)
    mask[counted(number) == 0] = 0
    mask[[0, 19]] = (70, 130, 180)
    return mask.astype(np.uint8)


def crowd(number: int) -> Any:
    """More objects in all masks than 8 bits can number."""
    mask = np.arange(135, 285).reshape(10, 15).repeat(2, axis=0).repeat(2, axis=1) + 150 * number
    mask[:2] = 0
    return mask.astype(np.uint16)


@pytest.mark.parametrize(("mask", "values"), [(counted, 7), (numbered, 19), (crowd, 541), (panoptic, 20)])
def test_instances_are_not_taken_for_classes(root: Path, tmp_path: Path, mask: Draw, values: int) -> None:
    folders = draw_pairs(tmp_path, mask)
    for names in (None, ["background", "cell"]):
        with pytest.raises(
            InputError, match=rf"drawn: {values} values, most of them in one piece, .*: give --foreground n"
        ):
            make(root, folders, classes=names)
    made, card = make(root, folders, classes=["background", "cell"], foreground=True)
    assert [c.values for c in card.classes] == [[(0, 0, 0)] if mask is panoptic else [0], ["nonzero"]]
    share = np.mean([(mask(number).reshape(600, -1) > 0).any(axis=1).mean() for number in range(4)])
    assert made.classes[1].share == pytest.approx(share)


def test_values_that_have_names_are_classes(root: Path, tmp_path: Path) -> None:
    folders = draw_pairs(tmp_path, counted)
    assert len(make(root, folders, classes=list("abcdefg"))[1].classes) == 7


def organs(number: int) -> Any:
    """Six classes, each in one piece where it is, some missing in each mask."""
    mask = counted(3)
    return np.where(mask == 1 + number, 0, mask)


def streets(number: int) -> Any:
    """Six classes in scattered pieces, all in each mask but the last."""
    return np.random.default_rng(number).integers(0, 7 - number // 3, (20, 30)).astype(np.uint8)


@pytest.mark.parametrize("mask", [organs, streets])
def test_classes_are_not_taken_for_instances(root: Path, tmp_path: Path, mask: Draw) -> None:
    assert len(make(root, draw_pairs(tmp_path, mask))[1].classes) == 7


@pytest.mark.parametrize(
    ("file", "text", "values", "names"),
    [
        ("drawn/classes.txt", "skin\n\nmole\n", (0, 255), ["skin", "mole"]),
        ("drawn/codes.txt", "skin\nhair\nmole\n", (0, 2), ["skin", "mole"]),
        ("labels.txt", "\ufeff0 skin\n2: mole\n7\tnail bed\n", (2, 7), ["mole", "nail bed"]),
        ("labels.txt", "skin: 0\nmole: 7\n", (0, 7), ["skin", "mole"]),
        ("labels.txt", "skin\nmole\n", (0, 7, 9), None),
        ("labels.txt", "a/b\nmole\n", (0, 1), None),
        ("labels.txt", "mole\nmole\n", (0, 1), None),
        ("labels.txt", "skin\nall\n", (0, 1), None),
    ],
)
def test_names_beside_the_masks_are_those_of_the_classes_where_they_fit(
    root: Path, tmp_path: Path, file: str, text: str, values: tuple[int, ...], names: list[str] | None
) -> None:
    folders = draw_pairs(tmp_path, labels(*values))
    (tmp_path / file).write_text(text, encoding="utf-8")
    made, card = make(root, folders)
    assert (made.names_file == (tmp_path / file), made.has_listed_names) == (True, names is not None)
    assert names is None or [c.name for c in card.classes] == names


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nmole,200,10,0\nskin,0,0,0\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nskin:0,0,0::\nmole:200,10,0::\n"),
    ],
)
def test_names_of_colours_are_read(root: Path, tmp_path: Path, file: str, text: str) -> None:
    folders = draw_pairs(tmp_path, lambda number: np.array([[[0, 0, 0], [200, 10, 0]]], np.uint8))
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert [(c.name, c.values) for c in make(root, folders)[1].classes] == [
        ("skin", [(0, 0, 0)]),
        ("mole", [(200, 10, 0)]),
    ]


def test_many_classes_have_colours_of_their_own(root: Path, tmp_path: Path) -> None:
    _, card = make(root, draw_pairs(tmp_path, lambda number: np.arange(60, dtype=np.uint8).reshape(2, 30)))
    colours = [c.color for c in card.classes]
    assert len(set(colours)) == 60
    assert all(sum(abs(a - b) for a, b in zip(*pair, strict=True)) > 60 for pair in pairwise(colours))


def test_what_fits_nothing_is_reported_and_not_copied(root: Path, tmp_path: Path) -> None:
    images, masks = draw_pairs(tmp_path)
    for path in (images / "alone.jpg", images / "p1_1.png", images / ".hidden.jpg"):
        shutil.copyfile(images / "p0_0.jpg", path)
    (images / "notes.txt").write_text("x")
    shutil.copyfile(masks / "p0_0.png", masks / "lonely.png")
    (images / "p2_2.jpg").write_bytes(b"no image")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(images / "p0_3.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown as 20 x 30, and so its mask is drawn
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(images / "p1_1.jpg", exif=turned)
    made, _ = make(root, (images, masks))
    assert (made.pairs.images_alone, made.pairs.masks_alone) == (["alone.jpg"], ["lonely.png"])
    assert (made.pairs.doubles, list(made.scan.unusable), made.scan.other_sizes) == (["p1_1.png"], ["p2_2"], ["p0_3"])
    assert (made.scan.smallest, made.scan.largest) == ((30, 20), (40, 20))
    assert sorted(path.name for path in (made.own / "images").iterdir()) == [
        "p0_0.jpg",
        "p0_3.jpg",
        "p1_1.jpg",
        "p2_2.jpg",
    ]
    assert sorted(path.name for path in (made.own / "masks").iterdir()) == [f"p{n % 3}_{n}.png" for n in (0, 3, 1, 2)]


@pytest.mark.parametrize(
    ("images", "masks", "suffix"),
    [
        (["a", "b"], ["a", "b", "b_old"], ""),
        (["a", "b"], ["a_L", "b_L"], "_L"),
        (["1", "12"], ["1-seg", "12-seg"], "-seg"),
        (["im1", "im12"], ["im12", "im1_mask", "im12_mask"], "_mask"),
        (["a b", "c"], ["a b lesion.x", "c lesion.x"], " lesion.x"),
    ],
)
def test_suffix_of_masks_is_detected(
    root: Path, tmp_path: Path, images: list[str], masks: list[str], suffix: str
) -> None:
    folders = tmp_path / "i", tmp_path / "m"
    for folder, names in zip(folders, (images, masks), strict=True):
        folder.mkdir()
        for name in names:
            Image.fromarray(labels(0, 1)(0)).save(folder / f"{name}.png")
    made, card = make(root, folders)
    assert card.mask_suffix == suffix == made.pairs.suffix
    assert [sample.name for sample in read_layout(card, made.own).samples] == images


def test_accents_spelled_in_two_ways_are_one_name(root: Path, tmp_path: Path) -> None:
    images, masks = draw_pairs(tmp_path, suffix="_fläche")
    for number, path in enumerate(sorted(images.iterdir())):
        path.rename(images / unicodedata.normalize("NFC", f"Zürich-é{number}.jpg"))
    for number, path in enumerate(sorted(masks.iterdir())):
        path.rename(masks / unicodedata.normalize("NFD", f"Zürich-é{number}_fläche.png"))
    made, card = make(root, (images, masks))
    names = [sample.name for sample in read_layout(card, made.own).samples]
    assert names == [unicodedata.normalize("NFC", f"Zürich-é{number}") for number in range(4)]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_patterns_find_accents_in_either_spelling(root: Path, form: Any) -> None:
    own = root / "data/raw/cells/own"
    spelled = {other: [unicodedata.normalize(other, f"é{n}_ü.png") for n in range(3)] for other in ("NFC", "NFD")}
    folders = put(own / "images", *spelled["NFC"]), put(own / "masks", *spelled["NFD"])
    said = {key: unicodedata.normalize(form, text) for key, text in (("pair", r"é(\d)_ü"), ("group", r"(é\d)"))}
    made, card = make(root, folders, **said)
    samples = read_layout(card, own).samples
    assert (len(samples), made.groups) == (3, 3)
    assert list(card.find_groups([sample.name for sample in samples]).values()) == ["é0", "é1", "é2"]


def test_names_that_differ_only_in_their_spelling_are_reported(root: Path, tmp_path: Path) -> None:
    spelled = {form: [unicodedata.normalize(form, f"é{n}.png") for n in range(2)] for form in ("NFC", "NFD")}
    made, _ = make(root, (put(tmp_path / "i", *spelled["NFC"], *spelled["NFD"]), put(tmp_path / "m", *spelled["NFC"])))
    assert [unicodedata.normalize("NFC", name) for name in made.pairs.doubles] == ["é0.png", "é1.png"]
    assert list_copies(made) == [f"{kind}/é{n}.png" for kind in ("images", "masks") for n in range(2)]


def test_twelve_is_not_the_mask_of_one(root: Path, tmp_path: Path) -> None:
    images, masks = draw_pairs(tmp_path, count=1)
    (masks / "p0_0.png").rename(masks / "p0_02.png")
    with pytest.raises(InputError, match=r"no mask in .* \(p0_0.jpg and p0_02.png\)"):
        make(root, (images, masks))


def put(folder: Path, *names: str) -> Path:
    """Files with these names, in images and masks alike: an image may be read as a mask."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels(0, 1)(number)).save(folder / name)
    return folder


def list_copies(made: NewDataset) -> list[str]:
    return sorted(path.relative_to(made.own).as_posix() for path in made.own.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("images", "masks", "pair", "copies"),
    [
        (["a/1.png", "b/1.png"], ["a/1_m.png", "b/1_m.png"], None, ["a_1", "b_1"]),
        (["a/1.png", "b/2.png"], ["1_m.png", "2_m.png"], None, ["a_1", "b_2"]),
        (["12_rgb.png", "3_rgb.png"], ["12_label_x.png", "3_label_y.png"], r"(\d+)_", ["12_rgb", "3_rgb"]),
        (
            ["p1/slice_7.png", "p2/slice_7.png"],
            ["mask-p1-7.png", "mask-p2-7.png"],
            r"p(\d).*?(\d)$",
            ["p1_slice_7", "p2_slice_7"],
        ),
    ],
)
def test_pairs_are_found_in_subfolders_and_by_a_pattern(
    root: Path, tmp_path: Path, images: list[str], masks: list[str], pair: str | None, copies: list[str]
) -> None:
    made, card = make(root, (put(tmp_path / "i", *images), put(tmp_path / "m", *masks)), pair=pair)
    suffix = "" if pair else "_m"
    assert list_copies(made) == sorted(
        [f"images/{name}.png" for name in copies] + [f"masks/{name}{suffix}.png" for name in copies]
    )
    assert [sample.name for sample in read_layout(card, made.own).samples] == sorted(copies)
    assert (card.layout, made.pairs.images_alone, made.pairs.masks_alone, made.pairs.doubles) == ("folders", [], [], [])


def test_images_behind_links_are_copied_as_what_they_link_to(root: Path, tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "p1/1.png", "p2/2.png"), put(tmp_path / "m", "p1/1.png", "p2/2.png")
    (tmp_path / "elsewhere").mkdir()
    for place in (images / "p1", masks / "p2", images / "p2/2.png"):
        place.rename(tmp_path / "elsewhere" / f"{place.parent.name}-{place.name}")
        place.symlink_to(tmp_path / "elsewhere" / f"{place.parent.name}-{place.name}")
    made, _ = make(root, (images, masks))
    assert list_copies(made) == ["images/p1_1.png", "images/p2_2.png", "masks/p1_1.png", "masks/p2_2.png"]
    assert not [path for path in made.own.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("name", "target", "complaint"),
    [
        ("3.png", "nowhere", "--masks: .*m/3.png is a broken link, to nowhere"),
        ("more", "..", "--masks: .*m/more/m links to a folder that contains it"),
    ],
)
def test_link_that_leads_nowhere_is_an_error(
    root: Path, tmp_path: Path, name: str, target: str, complaint: str
) -> None:
    folders = put(tmp_path / "i", "1.png"), put(tmp_path / "m", "1.png")
    (folders[1] / name).symlink_to(target)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=complaint):
        make(root, folders)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("inside", [False, True])
def test_folders_of_splits_become_the_official_split(root: Path, tmp_path: Path, inside: bool) -> None:
    names = ["Train/1.png", "Train/2.png", "test/1.png"]
    if inside:
        data = tmp_path / "data"
        for kind in ("images", "masks"):
            put(data, *(name.replace("/", f"/{kind}/") for name in names))
        folders = (data, data)
    else:
        folders = (put(tmp_path / "i", *names), put(tmp_path / "m", *names))
    made, card = make(root, folders)
    assert (card.layout, card.has_official_split, made.pairs.has_splits) == ("split_folders", True, True)
    samples = read_layout(card, made.own).samples
    assert [(sample.name, sample.split) for sample in samples] == [
        ("test/1", "test"),
        ("train/1", "train"),
        ("train/2", "train"),
    ]


@pytest.mark.parametrize(
    ("images", "pair", "complaint"),
    [
        (
            ["a/b_1.png", "a_b/1.png"],
            None,
            r"i: a/b_1.png and a_b/1.png would both be called a_b_1; rename one of them$",
        ),
        (["1.png"], "x(.)", r"--pair: 'x\(.\)' captures the same in no image and mask, such as "),
        (["1.png"], "1", "^--pair: '1' must have one pair of brackets, around what it captures$"),
        (["1.png"], "(1", r"^--pair: '\(1' is not a regular expression: "),
    ],
)
def test_pairs_that_cannot_be_made_are_reported(
    root: Path, tmp_path: Path, images: list[str], pair: str | None, complaint: str
) -> None:
    folders = put(tmp_path / "i", *images), put(tmp_path / "m", *images)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=complaint):
        make(root, folders, pair=pair)
    assert everything(tmp_path) == before


def test_masks_inside_the_folder_of_images_are_no_images(root: Path, tmp_path: Path) -> None:
    images = put(tmp_path / "i", "1.png", "2.png", "more/3.png")
    made, _ = make(root, (images, put(images / "masks", "1.png", "2.png", "more/3.png")))
    assert list(made.pairs.images) == ["1", "2", "more_3"] and made.pairs.images_alone == []


def test_data_in_place_must_have_names_that_pair(root: Path) -> None:
    own = root / "data/raw/cells/own"
    folders = put(own / "images", "1_a.png"), put(own / "masks", "1_b.png")
    with pytest.raises(InputError, match=r"^--pair: data in place are not renamed; give each mask its image's name"):
        make(root, folders, pair=r"(\d)_")


def spoil(folder: Path, content: bytes) -> None:
    next(iter(sorted(folder.iterdir()))).write_bytes(content)


def drop(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def put_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def rename_all(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"x{path.name}"))


def grey(number: int) -> Any:
    return np.arange(600, dtype=np.uint16).reshape(20, 30) + 600 * number


def rainbow(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)


def shades(number: int) -> Any:
    """A hundred values each, another hundred in each mask."""
    return (np.arange(600, dtype=np.uint16) % 100 + 100 * number).reshape(20, 30)


def every_value(number: int) -> Any:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


NOTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("drawn", "said", "spoiled", "complaint"),
    [
        (NOTHING, {}, lambda i, m: shutil.rmtree(i), "^--images: .*pictures does not exist$"),
        (NOTHING, {}, lambda i, m: shutil.rmtree(m), "^--masks: .*drawn does not exist$"),
        (NOTHING, {}, lambda i, m: put_a_file(i), "^--images: .*pictures is not a folder$"),
        (NOTHING, {}, lambda i, m: drop(i), r"^--images: .*pictures holds no image \(no .bmp, .gif"),
        (
            NOTHING,
            {},
            lambda i, m: rename_all(m),
            r"no mask in .*drawn is named as an image in .*\(p0_0.jpg and xp0_0.png\)",
        ),
        (NOTHING, {}, lambda i, m: spoil(m, b"no"), "drawn/p0_0.png: unreadable mask: unknown image format"),
        (
            NOTHING,
            {},
            lambda i, m: [path.write_bytes(b"") for path in i.iterdir()],
            "none of the 4 images can be read; .*: unreadable image: empty file",
        ),
        ({"kind": "jpg"}, {}, None, "drawn/p[0-9]_[0-9].jpg: is JPEG, which blurs values; masks must be label images"),
        ({"kind": "webp"}, {}, None, "is lossy WebP, which blurs values"),
        (
            {"mask": rainbow},
            {},
            None,
            "holds 600 colours; masks must be label images, one value per class, stored without",
        ),
        ({"mask": grey}, {}, None, "holds 600 values; masks must be label images"),
        ({"mask": shades}, {}, None, "drawn: masks hold 400 values; masks must be label images"),
        (
            {"mask": every_value},
            {"void": []},
            None,
            f"^the masks hold 256 values; {CLASS_LIMIT}$",
        ),
        ({"mask": labels(7)}, {}, None, "^all masks hold only 7; two classes are needed$"),
        (
            {"mask": labels(0, 3, 255)},
            {"classes": ["a", "b", "c"]},
            None,
            r"^--classes gives 3 names \(a, b, c\), but the masks hold 2 values besides void .*: 0 \(90.0 %\), 3 \(5.0 %\)$",
        ),
        (NOTHING, {"classes": ["a", "a"]}, None, "^--classes names a twice$"),
        (NOTHING, {"name": "null"}, None, "^'null' cannot name a dataset"),
        (NOTHING, {"name": "12"}, None, "^'12' cannot name a dataset"),
        (
            NOTHING,
            {"classes": ["a", "Void"]},
            None,
            "^--classes: void is not a class; give its values with --void$",
        ),
        (
            NOTHING,
            {"classes": ["a", "All"], "void": [3]},
            None,
            "a class is called All; split, truth, all name columns and rows of the reports$",
        ),
        (NOTHING, {"classes": ["a", ""]}, None, "^--classes: '' cannot name a class: use letters"),
        (
            NOTHING,
            {"void": [255]},
            None,
            r"^--void: the masks hold only 0 \(95.0 %\) besides void; two classes are needed$",
        ),
        (NOTHING, {"void": [9, 9]}, None, "^--void names 9 twice$"),
        (NOTHING, {"void": [(0, 0, 9)]}, None, "^--void: #000009 does not fit the masks, which hold numbers$"),
        (NOTHING, {"group": "(p"}, None, r"^--group: '\(p' is not a regular expression: "),
        (NOTHING, {"group": "p"}, None, "^--group: 'p' must have one pair of brackets"),
        (NOTHING, {"group": "(z)"}, None, r"^--group: '\(z\)' finds no group in image names such as p0_0$"),
        (
            NOTHING,
            {"name": "../cells"},
            None,
            "^'../cells' cannot name a dataset: use a letter, then letters, digits, _ and -; not true, null or such$",
        ),
    ],
)
def test_what_cannot_be_is_reported_in_one_line_and_leaves_nothing(
    root: Path, tmp_path: Path, drawn: Any, said: Any, spoiled: Any, complaint: str
) -> None:
    folders = draw_pairs(tmp_path, **drawn)
    if spoiled:
        spoiled(*folders)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=complaint) as caught:
        create_dataset(NewDatasetOptions(**{"name": "cells", "images": folders[0], "masks": folders[1]} | said), root)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before


def test_one_folder_for_both_is_reported(root: Path, tmp_path: Path) -> None:
    images, _ = draw_pairs(tmp_path)
    with pytest.raises(InputError, match=r"pictures: --images and --masks must be different folders"):
        make(root, (images, images / "../pictures"))


@pytest.mark.parametrize(
    ("there", "complaint"),
    [
        ("data/catalog/cells.yaml", r"catalog/cells.yaml already exists: edit it"),
        (
            "data/raw/cells/own/images/a.png",
            r"raw/cells/own already exists: to use it, give --images .*/images",
        ),
        ("data/raw/cells/own.dvc", r"raw/cells/own.dvc already exists: get its data with `dvc checkout"),
    ],
)
def test_nothing_is_overwritten(root: Path, tmp_path: Path, there: str, complaint: str) -> None:
    folders = draw_pairs(tmp_path)
    (root / there).parent.mkdir(parents=True, exist_ok=True)
    (root / there).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(InputError, match=complaint):
        make(root, folders)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("linked", ["data/raw", "data/raw/cells", "data/raw/cells/own", "data/raw/cells/own/masks"])
def test_data_behind_a_link_are_refused_not_called_in_place(root: Path, tmp_path: Path, linked: str) -> None:
    own = root / "data/raw/cells/own"
    images, masks = draw_pairs(own)
    folders = images.rename(own / "images"), masks.rename(own / "masks")
    (root / linked).rename(tmp_path / "elsewhere")
    (root / linked).symlink_to(tmp_path / "elsewhere")
    before = everything(tmp_path)
    for given in (folders, (folders[0].resolve(), folders[1].resolve())):
        with pytest.raises(InputError, match=f"{linked}: is a link to a folder, which DVC does not follow"):
            make(root, given)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["shutil.copyfile", "losslab.data.new_dataset.create.write_text"])
def test_copy_that_is_cut_short_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException, step: str
) -> None:
    folders = draw_pairs(tmp_path)
    (root / "data/raw").mkdir()
    before = everything(tmp_path)

    def fail(*_: Any) -> None:
        raise trouble

    monkeypatch.setattr(step, fail)
    with pytest.raises(type(trouble)):
        make(root, folders)
    assert everything(tmp_path) == before


def test_card_goes_with_the_folder_that_could_not_be_put_in_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = draw_pairs(tmp_path)

    def write_and_stop(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr("losslab.data.new_dataset.create.write_text", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        make(root, folders)
    assert list((root / "data/catalog").iterdir()) == [] and not (root / "data/raw/cells").exists()


@pytest.mark.parametrize(
    "title", ["yes", "1e3", "a: b", "- a", "it's", "#1", "[a]", "a # b", "größer", "a, b", "null", "{x}"]
)
def test_title_is_read_as_it_was_said(root: Path, tmp_path: Path, title: str) -> None:
    assert make(root, draw_pairs(tmp_path), title=title)[1].title == title


def test_folder_without_a_catalog_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data/catalog: no such folder; run from the root of the repository$"):
        make(tmp_path, draw_pairs(tmp_path))
