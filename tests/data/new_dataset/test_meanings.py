"""What masks of each kind that people have mean: the card says it right, or the command asks."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from losslab.cards import Card, read_card
from losslab.data.loading.arrays import PreparedData
from losslab.data.new_dataset.create import create_dataset
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from tests.data.own_data import find_pixels, how

Draw = Callable[[int], Image.Image]
"""Draws the mask of a number."""
Truth = Callable[[int], Any]
"""Tells the labels of a number."""
COUNT, SIDE = 6, 32
VOID = 255
BLACK, RED, GREEN, WHITE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)


def disc(number: int, radius: float = 7, edge: float = 0) -> Any:
    """A disc, 0 to 1, whose edge is sharp, or as wide as `edge` pixels."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.clip((radius - np.hypot(rows - 18, columns - 12 - number)) / max(edge, 1e-6) + 0.5, 0, 1)


def one(number: int) -> Any:
    return (disc(number) > 0.5).astype(int)


def two(number: int) -> Any:
    """Label 1 in a disc, label 2 in a rectangle."""
    labels = one(number)
    labels[2:6, 22:30] = 2
    return labels


def ringed(number: int) -> Any:
    """The same, the disc within a ring that is void."""
    return np.where((disc(number, 9) > 0.5) & (one(number) == 0), VOID, two(number))


def objects(number: int, most: int) -> Any:
    """Squares, numbered from 1: one more in each mask, to `most`."""
    labels = np.zeros((SIDE, SIDE), int)
    for index in range(1 + number % most):
        labels[1 + index // 3 * 9 :, 1 + index % 3 * 9 :][:6, :6] = index + 1
    return labels


def grey(labels: Any) -> Image.Image:
    return Image.fromarray(np.asarray(labels, np.uint8))


def deep(labels: Any) -> Image.Image:
    return Image.fromarray(np.asarray(labels, np.uint16))


def bits(labels: Any) -> Image.Image:
    return Image.fromarray(np.asarray(labels, bool))


def floats(labels: Any) -> Image.Image:
    return Image.fromarray(np.asarray(labels, np.float32))


def colours(labels: Any, *palette: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array(palette, np.uint8)[labels])


def indexed(labels: Any, *palette: tuple[int, ...]) -> Image.Image:
    image = grey(labels)
    image.putpalette([part for colour in palette for part in colour])
    return image


def alternate(*draws: Draw) -> Draw:
    """The masks of each kind in turn."""
    return lambda number: draws[number % len(draws)](number)


def swap(labels: Any) -> Any:
    return np.array([0, 2, 1])[labels]


def compress(labels: Any) -> Image.Image:
    """The mask after a JPEG."""
    stream = io.BytesIO()
    grey(labels).save(stream, "JPEG", quality=80)
    return Image.open(stream).convert("L")


def make(tmp_path: Path, draw: Draw, kind: str, said: dict[str, Any]) -> tuple[Card, list[Any]]:
    """The card of these masks, and the labels that prepare makes of each."""
    root, folders = tmp_path / "repo", (tmp_path / "i", tmp_path / "m")
    for folder in (root / "data/catalog", *folders):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folders[0] / f"{number}.png")
        draw(number).save(folders[1] / f"{number}.{kind}")
    before = sorted(tmp_path.rglob("*"))
    try:
        create_dataset(NewDatasetOptions(name="cells", images=folders[0], masks=folders[1], **said), root)
    except InputError:
        assert sorted(tmp_path.rglob("*")) == before
        raise
    card = read_card("cells", root / "data/catalog")
    audit = prepare(card, root / "data/raw/cells", how(size=SIDE, audit="strict"), tmp_path / "out")
    assert audit["counts"]["error"] == 0
    prepared = PreparedData(tmp_path / "out")
    return card, [find_pixels(prepared, str(number))[1] for number in range(COUNT)]


def check(labels: list[Any], truth: Truth) -> None:
    for number, found in enumerate(labels):
        assert np.array_equal(found, truth(number)), number


READ: dict[str, tuple[Draw, str, Truth, list[Any], list[Any]]] = {
    "1 bit": (lambda n: bits(one(n)), "png", one, [[0], [1]], []),
    "1 bit, TIFF": (lambda n: bits(one(n)), "tif", one, [[0], [1]], []),
    "1 and 8 bits": (alternate(lambda n: bits(one(n)), lambda n: grey(one(n))), "png", one, [[0], [1]], []),
    "white": (lambda n: grey(one(n) * 255), "png", one, [[0], [255]], []),
    "white, some empty or full": (
        alternate(lambda n: grey(one(n) * 255), lambda n: grey(one(n) * 0), lambda n: grey(one(n) * 0 + 255)),
        "png",
        lambda n: [one(n), one(n) * 0, one(n) * 0 + 1][n % 3],
        [[0], [255]],
        [],
    ),
    "void, one file without objects": (
        lambda n: grey(ringed(n) if n else one(n) * 0),
        "png",
        lambda n: ringed(n) if n else one(n) * 0,
        [[0], [1], [2]],
        [255],
    ),
    "one palette": (lambda n: indexed(two(n), BLACK, RED, GREEN), "png", two, [[0], [1], [2]], []),
    "one palette and grey": (
        alternate(lambda n: indexed(two(n), BLACK, RED, GREEN), lambda n: grey(two(n))),
        "png",
        two,
        [[0], [1], [2]],
        [],
    ),
    "palettes in another order": (
        alternate(lambda n: indexed(two(n), BLACK, RED, GREEN), lambda n: indexed(swap(two(n)), BLACK, GREEN, RED)),
        "png",
        lambda n: swap(two(n)),  # colours in ascending order: green is before red
        [[BLACK], [GREEN], [RED]],
        [],
    ),
    "palettes of what a file holds": (
        alternate(lambda n: indexed(one(n), BLACK, RED), lambda n: indexed(one(n), BLACK, GREEN)),
        "png",
        lambda n: one(n) * (1 + (n + 1) % 2),
        [[BLACK], [GREEN], [RED]],
        [],
    ),
    "palettes and RGB": (
        alternate(lambda n: indexed(two(n), BLACK, RED, GREEN), lambda n: colours(two(n), BLACK, RED, GREEN)),
        "png",
        lambda n: swap(two(n)),
        [[BLACK], [GREEN], [RED]],
        [],
    ),
    "RGBA": (
        lambda n: colours(two(n), (*BLACK, 0), (*RED, 255), (*GREEN, 120)),
        "png",
        lambda n: swap(two(n)),
        [[BLACK], [GREEN], [RED]],
        [],
    ),
    "16 bits": (lambda n: deep(two(n)), "png", two, [[0], [1], [2]], []),
    "16 bits, white": (lambda n: deep(one(n) * 65535), "png", one, [[0], [65535]], []),
    "16 bits, stretched": (lambda n: deep(two(n) * 257), "png", two, [[0], [257], [514]], []),
    "floats": (lambda n: floats(two(n)), "tif", two, [[0], [1], [2]], []),
    "floats, white": (lambda n: floats(one(n) * 255), "tif", one, [[0], [255]], []),
    "labels of two kinds of masks": (  # 16 to 18 are near 255 / 15
        alternate(lambda n: grey(one(n) * 15), lambda n: grey(np.where(objects(2, 3), objects(2, 3) + 15, 0))),
        "png",
        lambda n: np.where(objects(2, 3), objects(2, 3) + 1, 0) if n % 2 else one(n),
        [[0], [15], [16], [17], [18]],
        [],
    ),
    "1 to 3, some missing": (
        lambda n: grey(np.where(objects(2, 3) == 1 + n % 3, 0, objects(2, 3))),
        "png",
        lambda n: np.where(objects(2, 3) == 1 + n % 3, 0, objects(2, 3)),
        [[0], [1], [2], [3]],
        [],
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_masks_are_read_right(tmp_path: Path, kind: str) -> None:
    draw, suffix, truth, values, void = READ[kind]
    card, labels = make(tmp_path, draw, suffix, {})
    assert [each.values for each in card.classes] == values and card.void == void
    check(labels, truth)


HALVES = [list(range(128)), list(range(128, 256))]
STRETCHED = "and no mask holds values of both, as if some were stretched to a wider range; say what is meant: --values "
TWO_ROLES = (
    r"m: 255 may be the object in 1.png, which holds only it and 0 \(as 3 masks of 6\), but void in 0.png, which "
)
ASKED: dict[str, tuple[Draw, str, str, dict[str, Any], Truth]] = {
    "1 bit and white": (
        alternate(lambda n: bits(one(n)), lambda n: grey(one(n) * 255)),
        "png",
        r"no mask has both \(1.png holds 0 and 255, 0.png 0 and 1\); say what is meant: --foreground nonzero ",
        {"foreground": True},
        one,
    ),
    "0 and 1, white": (
        alternate(lambda n: grey(one(n)), lambda n: grey(one(n) * 255)),
        "png",
        r"no mask has both \(1.png holds 0 and 255, 0.png 0 and 1\)",
        {"values": [[0], [1, 255]]},
        one,
    ),
    "smooth edges": (
        lambda n: grey(disc(n, edge=2) * 255),
        "png",
        r"along the edges of 255, as .* \(0.png holds 0, .*\); say what is meant: --values 0-127,128-255 \(from 128 on is",
        {"values": HALVES},
        lambda n: (disc(n, edge=2) * 255).astype(np.uint8) >= 128,
    ),
    "smooth edges in one file": (
        lambda n: grey(disc(n, edge=2 * (n == 3)) * 255),
        "png",
        r"along the edges of 255, as .* \(3.png holds 0, .*\); say what is meant: --values 0-127,128-255",
        {"values": HALVES},
        lambda n: (disc(n, edge=2 * (n == 3)) * 255).astype(np.uint8) >= 128,
    ),
    "smooth edges and 0 and 1": (
        alternate(lambda n: grey(disc(n, edge=2) * 255), lambda n: grey(one(n))),
        "png",
        r"\(0.png holds 0, .*\), but 1.png holds 0 and 1; say what is meant: --foreground nonzero",  # halves would lose it
        {"foreground": True},
        lambda n: one(n) if n % 2 else (disc(n, edge=2) * 255).astype(np.uint8) > 0,
    ),
    "smooth edges of 200": (
        lambda n: grey(disc(n, edge=2) * 200),
        "png",
        r"m: 10 of 12 values lie only between or near others, as if .*, or say what is meant: --values 0-99,100-200 \(each bel",
        {"values": [list(range(100)), list(range(100, 201))]},
        lambda n: (disc(n, edge=2) * 200).astype(np.uint8) >= 100,
    ),
    "smooth edges in colour": (
        lambda n: Image.fromarray((disc(n, edge=2)[..., None] * RED).astype(np.uint8)),
        "png",
        r"m: 10 of 12 values lie only between or near others, .* \(0.png holds #000000, .*--foreground nonzero",
        {"foreground": True},
        lambda n: (disc(n, edge=2) * 255).astype(np.uint8) > 0,
    ),
    "undecided border": (
        lambda n: grey(np.where(one(n), 255, np.where(disc(n, 9) > 0.5, 128, 0))),
        "png",
        r"along the edges of 255, .* \(0.png holds 0, 128 and 255\); say what is meant: --void 128 \(an undecided border\)",
        {"void": [128]},
        lambda n: np.where(one(n), 1, np.where(disc(n, 9) > 0.5, VOID, 0)),
    ),
    "after a JPEG": (
        lambda n: compress(one(n) * 255),
        "png",
        "values from 1 to 254 lie only along the edges of 255",
        {"values": HALVES},
        lambda n: np.asarray(compress(one(n) * 255)) >= 128,
    ),
    "after a JPEG, not quite white": (
        lambda n: compress(one(n) * 240),
        "png",
        r"m: 64 of 64 values lie only between or near others, .*: --values 0-119,120-255 \(each belongs to the nearer\)",
        {"values": [list(range(120)), list(range(120, 256))]},
        lambda n: np.asarray(compress(one(n) * 240)) >= 120,
    ),
    "JPEG": (
        lambda n: compress(one(n) * 255),
        "jpg",
        "[0-9].jpg: is JPEG, which blurs values; .*; or give --values 0-127,128-255, if they show one object, white on b",
        {"values": HALVES},
        one,
    ),
    "255 as object and as void": (
        alternate(lambda n: grey(ringed(n)), lambda n: grey(one(n) * 255)),
        "png",
        TWO_ROLES + r"holds 0, 1, 2 and 255 \(as 3\); a card cannot say both: .*--void 255 or --void none$",
        {"void": [255]},
        lambda n: one(n) * VOID if n % 2 else ringed(n),
    ),
    "255 as object, void in one file": (
        lambda n: grey(one(n) * 255 if n else ringed(n)),
        "png",
        r"255 may be the object in 1.png, .* \(as 5 masks of 6\), but void in 0.png, .* \(as 1\)",
        {"void": []},
        lambda n: np.where(ringed(n) == VOID, 3, ringed(n)) if n == 0 else one(n) * 3,
    ),
    "65535 as object and as void": (
        alternate(
            lambda n: deep(np.where(ringed(n) == VOID, 65535, ringed(n))), lambda n: deep(np.where(one(n), 65535, 0))
        ),
        "png",
        TWO_ROLES.replace("255", "65535"),
        {"void": [65535]},
        lambda n: one(n) * VOID if n % 2 else ringed(n),
    ),
    "void in 8 and in 16 bits": (
        alternate(lambda n: grey(ringed(n)), lambda n: deep(np.where(ringed(n) == VOID, 65535, ringed(n)))),
        "png",
        r"m: 65535 \(1.png holds 0, 1, 2 and 65535\) may mean in 16 bits what 255 means in 8 \(0.png .*: --void 255,65535, ",
        {"void": [255, 65535]},
        ringed,
    ),
    "0 and 1, white in 16 bits": (
        alternate(lambda n: grey(one(n)), lambda n: deep(one(n) * 65535)),
        "png",
        f"m: 1.png holds 0 and 65535, 0.png 0 and 1, {STRETCHED}" + r"0,1\+65535 \(",
        {"values": [[0], [1, 65535]]},
        one,
    ),
    "labels and 257 times the labels": (
        alternate(lambda n: grey(two(n)), lambda n: deep(two(n) * 257)),
        "png",
        f"m: 1.png holds 0, 257 and 514, 0.png 0, 1 and 2, {STRETCHED}" + r"0,1\+257,2\+514 \(",
        {"values": [[0], [1, 257], [2, 514]]},
        two,
    ),
    "labels and stretched labels": (
        alternate(lambda n: grey(two(n)), lambda n: grey(np.array([0, 128, 255])[two(n)])),
        "png",
        f"m: 1.png holds 0, 128 and 255, 0.png 0, 1 and 2, {STRETCHED}" + r"0,1\+128,2\+255 \(",
        {"values": [[0], [1, 128], [2, 255]]},
        two,
    ),
    "labels and labels times 85": (
        alternate(lambda n: grey(objects(2, 3)), lambda n: grey(objects(2, 3) * 85)),
        "png",
        rf"{STRETCHED}0,1\+85,2\+170,3\+255 \(",
        {"values": [[0], [1, 85], [2, 170], [3, 255]]},
        lambda n: objects(2, 3),
    ),
    "many objects": (
        lambda n: grey(objects(n, 6)),
        "png",
        r"m: 7 values, most of them in one piece, .* \(5.png holds 7\): give --foreground nonzero",
        {"foreground": True},
        lambda n: objects(n, 6) > 0,
    ),
    "few objects": (
        lambda n: grey(objects(n, 3)),
        "png",
        r"m: 4 values, most of them in one piece, .* \(2.png holds 4\): give --foreground nonzero",
        {"classes": ["a", "b", "c", "d"]},
        lambda n: objects(n, 3),
    ),
    "colours and numbers": (
        alternate(lambda n: colours(two(n), BLACK, RED, GREEN), lambda n: grey(two(n))),
        "png",
        r"m/1.png: holds 1 and 2 in grey, which no mask in colours has \(0.png is one\): save all masks in the same way, or ",
        {"values": [[BLACK], [RED, (1, 1, 1)], [GREEN, (2, 2, 2)]]},
        two,
    ),
    "palettes that differ and repeat a colour": (
        lambda n: indexed(two(n), BLACK, RED, RED if n else GREEN),
        "png",
        r"m/1.png: its palette gives 1 and 2 the colour \[255, 0, 0\], but masks are read in colours",
        {"values": [[BLACK], [RED], [GREEN]]},
        lambda n: two(n) > 0 if n else two(n),
    ),
    "white in a palette and in grey": (
        alternate(lambda n: indexed(one(n), BLACK, WHITE), lambda n: grey(one(n) * 255)),
        "png",
        r"no mask has both \(1.png holds 0 and 255, 0.png 0 and 1\)",
        {"values": [[BLACK], [WHITE]]},
        one,
    ),
    "transparent and opaque black": (
        lambda n: colours(two(n), (*BLACK, 0), (*RED, 255), (*BLACK, 255)),
        "png",
        r"m/0.png: #000000 is transparent in some pixels and opaque in others, .* if it means nothing, give --void none",
        {"void": []},
        one,
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_may_be_merged_or_lost_is_asked_for_and_read_as_the_answer_says(tmp_path: Path, kind: str) -> None:
    draw, suffix, question, said, truth = ASKED[kind]
    with pytest.raises(InputError, match=question) as caught:
        make(tmp_path, draw, suffix, {})
    assert "\n" not in str(caught.value)
    check(make(tmp_path, draw, suffix, said)[1], truth)


@pytest.mark.parametrize(
    ("draw", "kind", "said", "complaint"),
    [
        (
            lambda n: grey(two(n)),
            "png",
            {"values": [[0], [1]]},
            "m/0.png: holds 2, which neither --values nor --void na",
        ),
        (
            lambda n: grey(two(n)),
            "png",
            {"values": [[0, 1, 2]]},
            "--values: two classes are needed; put a comma between",
        ),
        (lambda n: grey(two(n)), "png", {"values": [[0], [1, 2, 1]]}, "--values names 1 twice"),
        (lambda n: grey(two(n)), "png", {"values": [[0], [1]], "void": [1, 2]}, "--values names 1 twice"),
        (
            lambda n: grey(two(n)),
            "png",
            {"values": [[0], [1, 2]], "classes": ["a", "b", "c"]},
            r"--classes gives 3 names \(a, b, c\), but --values gives 2 \(share of pixels\): 0 \(.*\), 1\+2 \(",
        ),
        (
            lambda n: grey(two(n)),
            "png",
            {"values": [[0], [1, 2]], "foreground": True},
            "--foreground and --values: give one of them",
        ),
        (
            lambda n: colours(two(n), BLACK, RED, GREEN),
            "png",
            {"values": [[0], [1]]},
            "m/0.png: is in colours, but --values gives numbers; give colours, such as #e0e0c0",
        ),
        (
            lambda n: indexed(one(n), BLACK, RED if n else GREEN),
            "png",
            {"values": [[0], [1]]},
            "--values: 0 does not fit the masks, which hold colours",
        ),
        (lambda n: floats(disc(n, edge=3)), "tif", {}, "m/0.tif: unreadable mask: holds fractions; save it in 8 or 16"),
        (
            lambda n: colours(one(n), (*RED, 0), (*RED, 255)),
            "png",
            {},
            "all masks hold only #ff0000; two classes are needed; 0.png tells objects by its transparency, which is not r",
        ),
    ],
)
def test_values_that_do_not_fit_are_reported(
    tmp_path: Path, draw: Draw, kind: str, said: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        make(tmp_path, draw, kind, said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("listed", [False, True])
def test_name_for_each_value_is_an_answer(tmp_path: Path, listed: bool) -> None:
    draw = alternate(lambda n: grey(two(n)), lambda n: deep(two(n) * 257))
    if listed:
        (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n", encoding="utf-8")
    card, _ = make(tmp_path, draw, "png", {} if listed else {"classes": ["a", "b", "c", "d", "e"]})
    assert [each.values for each in card.classes] == [[0], [1], [2], [257], [514]]


def test_ranges_and_joined_values_are_written_short(tmp_path: Path) -> None:
    said = {"values": [*HALVES[:1], [*HALVES[1], 300, 302]], "void": [400, 401, 402]}
    make(tmp_path, lambda n: grey(disc(n, edge=2) * 255), "png", said)
    text = (tmp_path / "repo/data/catalog/cells.yaml").read_text(encoding="utf-8")
    assert re.findall(r"(?:values|void): (\[.*?\])", text) == ["[0-127]", "[128-255, 300, 302]", "[400-402]"]


def test_floats_of_64_bits_are_read_if_they_are_whole(tmp_path: Path) -> None:
    class Doubles:
        def __init__(self, labels: Any) -> None:
            self.labels = labels

        def save(self, path: Path) -> None:
            cv2.imwrite(str(path), np.asarray(self.labels, np.float64))

    draw: Any = lambda n: Doubles(two(n))  # noqa: E731
    card, labels = make(tmp_path, draw, "tif", {})
    assert [each.values for each in card.classes] == [[0], [1], [2]]
    check(labels, two)
    Doubles(two(3) + 0.5).save(tmp_path / "m/3.tif")
    with pytest.raises(InputError, match=r"m/3.tif: unreadable mask: holds fractions"):
        create_dataset(NewDatasetOptions(name="other", images=tmp_path / "i", masks=tmp_path / "m"), tmp_path / "repo")


def test_rare_classes_far_from_the_edges_are_not_taken_for_blur(tmp_path: Path) -> None:
    def labels(number: int) -> Any:
        cells = np.random.default_rng(number).integers(0, 40, (16, 6))
        drawn = np.zeros((SIDE, SIDE), int)
        drawn[:, :9] = 30
        drawn[:, 20:] = np.where(cells % 3 == number % 3, cells, 0).repeat(2, axis=0).repeat(2, axis=1)
        return drawn

    values = np.unique([labels(number) for number in range(COUNT)]).tolist()
    card, _ = make(tmp_path, lambda n: grey(labels(n)), "png", {})
    assert [each.values for each in card.classes] == [[value] for value in values] and len(values) > 20
