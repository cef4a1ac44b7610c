"""What can be wrong with a folder of images and masks, and the line that tells it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from losslab.data.findings import FINDING_KINDS, Finding
from losslab.data.prepare.audit import AuditError, describe_findings, summarize_audit
from losslab.data.prepare.near_duplicates import MAX_PAIRS_LISTED
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from losslab.io.files import read_json
from tests.data.own_data import files_by_kind, how, make_folders, own_card, prepared_from, save


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def jpeg_mask(own: Path) -> None:
    mask = Image.open(own / "masks/im0.png")
    mask.save(own / "masks/im0.jpg")
    (own / "masks/im0.png").unlink()


def colour_mask(own: Path) -> None:
    save(own / "masks/im0.png", np.random.default_rng(0).integers(0, 9, (40, 60, 3), np.uint8))


def copy_image(own: Path, kind: str) -> None:
    (own / f"{kind}/im0.bmp").write_bytes((own / f"{kind}/im0.png").read_bytes())


ERRORS: list[tuple[Callable[[Path], object], str]] = [
    (lambda own: (own / "masks/im0.png").unlink(), "image without a mask: images/im0.png. Remedy: add a mask"),
    (lambda own: (own / "images/im0.png").unlink(), "mask without an image: masks/im0.png. Remedy: add the image"),
    (lambda own: copy_image(own, "images"), "same name as another: images/im0.png. Remedy: give it a name"),
    (lambda own: copy_image(own, "masks"), "same name as another: masks/im0.png. Remedy: give it a name"),
    (
        lambda own: (own / "images/im0.png").write_bytes(b"text"),
        "unreadable image: images/im0.png (unknown image format)",
    ),
    (lambda own: (own / "images/im0.png").write_bytes(b""), "unreadable image: images/im0.png (empty file)"),
    (lambda own: cut(own / "images/im0.png"), "truncated image: images/im0.png (image file is truncated"),
    (lambda own: (own / "masks/im0.png").write_bytes(b"text"), "unreadable mask: masks/im0.png (unknown image format)"),
    (lambda own: cut(own / "masks/im0.png"), "truncated mask: masks/im0.png (image file is truncated"),
    (
        lambda own: save(own / "masks/im0.png", np.zeros((41, 60), np.uint8)),
        "size mismatch: masks/im0.png (60 x 41, its image 60 x 40 (width x height)). Remedy: make the mask",
    ),
    (
        lambda own: save(own / "masks/im0.png", np.full((40, 60), 4, np.uint8)),
        "label not in the card: masks/im0.png (holds 4; the card has 0, 1 and 9). Remedy: correct the mask, or add",
    ),
    (
        lambda own: save(own / "masks/im0.png", np.full((40, 60), 300, np.uint16)),
        "label not in the card: masks/im0.png (holds 300; the card has 0, 1 and 9)",
    ),
    (jpeg_mask, "label not in the card: masks/im0.jpg (holds 2, 3, 4, 5, 6 and "),
    (colour_mask, "label not in the card: masks/im0.png (is in colours; write colours as the values"),
    (
        lambda own: save(own / "masks/im0.png", np.full((40, 60), 9, np.uint8)),
        "nothing but void: masks/im0.png. Remedy: label it, or remove it",
    ),
    (
        lambda own: Image.fromarray(np.full((40, 60), 0.5, np.float32)).save(own / "masks/im0.png", format="TIFF"),
        "unreadable mask: masks/im0.png (holds fractions; save it in 8 or 16 bits)",
    ),
    (
        lambda own: save(own / "images/im0.png", np.arange(2400, dtype=np.uint16).reshape(40, 60) % 200),
        "unexpected bands: images/im0.png (1 band of uint16, not 3 of uint8). Remedy: describe what all",
    ),
    (
        lambda own: Image.new("L", (60, 40)).save(
            own / "masks/im0.png", "TIFF", save_all=True, append_images=[Image.new("L", (60, 40), 1)]
        ),
        "several frames: masks/im0.png (2 of them). Remedy: save each frame",
    ),
    (
        lambda own: (
            cv2.imwrite(str(own / "images/im0.tif"), np.zeros((40, 60, 4), np.uint8))
            and (own / "images/im0.tif").replace(own / "images/im0.png")
        ),
        "unexpected bands: images/im0.png (4 bands of uint8 (the file calls 3 of 4 bands colour, 0 alpha), not",
    ),
]


@pytest.mark.parametrize(("damage", "line"), ERRORS, ids=[line[:50] for _, line in ERRORS])
def test_bad_file_stops_a_strict_run_and_is_left_out_with_warn(
    tmp_path: Path, damage: Callable[[Path], object], line: str
) -> None:
    damage(make_folders(tmp_path))
    with pytest.raises(AuditError, match=r"^1 error in the data: 1 x .*; correct .* -S prepare.audit=warn") as caught:
        prepared_from(tmp_path, audit="strict")
    assert any(shown.startswith(f"error: 1 x {line}") for shown in summarize_audit(caught.value.audit)), (
        summarize_audit(caught.value.audit)
    )
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    audit, _ = prepared_from(tmp_path)
    assert audit["counts"]["error"] == 1 and read_json(tmp_path / "out/audit.json") == audit
    assert sum(audit["images"].values()) == (8 if line.startswith("same name") else 7)


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    cut(own / "images/im1.png")
    (own / "masks/im2.png").unlink()
    (own / "images/im3.png").write_bytes(b"")
    with pytest.raises(
        AuditError, match="3 errors in the data: 1 x image without a mask, 1 x unreadable image, 1 x truncated image"
    ):
        prepared_from(tmp_path, audit="strict")


def test_junk_is_named_and_stops_nothing(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for name in ("images/notes.mat", "images/Thumbs.db", "images/._im1.png", "masks/.DS_Store"):
        (own / name).write_bytes(b"x")
    (own / "images/folder").mkdir()
    audit, _ = prepared_from(tmp_path, audit="strict")
    assert files_by_kind(audit) == {
        "not an image": ["images/Thumbs.db", "images/folder", "images/notes.mat"],
        "hidden file": ["images/._im1.png", "masks/.DS_Store"],
    }


def test_name_in_another_code_than_utf_8_is_an_error_not_a_crash(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for kind in ("images", "masks"):
        (own / f"{kind}/im0.png").rename(own / kind / os.fsdecode(b"M\xfcller.png"))
    audit, _ = prepared_from(tmp_path)
    assert files_by_kind(audit) == {"name that is no text": ["images/M\\udcfcller.png", "masks/M\\udcfcller.png"]}
    assert sum(audit["images"].values()) == 7


def test_broken_link_is_reported(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    (own / "masks/im0.png").unlink()
    (own / "masks/im0.png").symlink_to("nowhere.png")
    (finding,) = prepared_from(tmp_path)[0]["findings"]
    assert (finding["kind"], finding["detail"]) == ("unreadable mask", "No such file or directory")


@pytest.mark.parametrize("name", ["own", "own/images", "own/masks"])
def test_linked_folder_is_refused_as_dvc_would_not_see_it_change(tmp_path: Path, name: str) -> None:
    make_folders(tmp_path)
    folder = tmp_path / "raw" / name
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"raw/{name}: is a link to a folder, which DVC does not follow"):
        prepared_from(tmp_path)


def test_files_that_dvc_ignores_are_errors_as_it_would_not_store_them(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvcignore").write_text("# mine\n*.pyc\n/raw/own/masks/im3.*\n", encoding="utf-8")
    (own / ".dvcignore").write_text("im1*\n!im1.png\n*5.png\n", encoding="utf-8")
    audit, _ = prepared_from(tmp_path)
    assert files_by_kind(audit, "error") == {"ignored by DVC": ["images/im5.png", "masks/im3.png", "masks/im5.png"]}
    assert sum(audit["images"].values()) == 6
    (own / ".dvcignore").write_text("images/\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"no image with a mask in the layout folders; skipped: images/im0\.png \(ignored by DVC\)"
    ):
        prepared_from(tmp_path)


def test_links_to_files_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """DVC's own cache links files, with cache.type symlink."""
    own = make_folders(tmp_path)
    (own / "masks").rename(tmp_path / "elsewhere")
    (own / "masks").mkdir()
    for path in (tmp_path / "elsewhere").iterdir():
        (own / "masks" / path.name).symlink_to(path)
    assert prepared_from(tmp_path, audit="strict")[0]["findings"] == []


def paint(own: Path, name: str, *colours: tuple[int, int, int]) -> None:
    """Give a mask a palette for 0, 1 and 9."""
    mask = Image.open(own / f"masks/{name}.png")
    palette = np.zeros((10, 3), np.uint8)
    palette[[0, 1, 9]] = colours
    mask.putpalette(palette.ravel().tolist())
    mask.save(own / f"masks/{name}.png")


def test_palettes_that_disagree_about_a_number_are_errors(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for name, colours in (("im2", (9, 0, 0)), ("im5", (0, 0, 200)), ("im6", (9, 0, 0)), ("im7", (1, 1, 1))):
        paint(own, name, (0, 0, 0), colours, (9, 9, 9))  # im7 has greys that are the numbers, as plain masks have
    with pytest.raises(AuditError, match=r"^1 error in the data: 1 x palette unlike another"):
        prepared_from(tmp_path, audit="strict")
    (finding,) = prepared_from(tmp_path)[0]["findings"]
    assert (finding["file"], finding["detail"]) == ("masks/im5.png", "1 is [0, 0, 200], but [9, 0, 0] in masks/im2.png")


def test_group_expression_that_finds_nothing_in_a_name_makes_it_a_group_of_its_own(tmp_path: Path) -> None:
    make_folders(tmp_path)
    card = own_card(tmp_path, group="^im([0-3])?")
    assert card.find_groups(["im1", "im7", "x", "a/im2"]) == {"im1": "1", "im7": "im7", "x": "x", "a/im2": "2"}
    prepared_from(tmp_path, card, method="grouped")


def test_group_expression_that_never_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folders(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / f"raw/own/{kind}/im0.png").rename(tmp_path / f"raw/own/{kind}/{'a' * 60}b.png")
    monkeypatch.setattr("losslab.cards.GROUPS_TIMEOUT_S", 0.3)
    with pytest.raises(InputError, match=r"^group '\^\(a\+\)\+\$' takes more than 0.3 s on 8 names; write it without"):
        prepared_from(tmp_path, own_card(tmp_path, group="^(a+)+$"))
    assert not (tmp_path / "out").exists()


def test_upper_case_endings_and_spaces_in_names_are_no_trouble(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for kind in ("images", "masks"):
        (own / f"{kind}/im0.png").rename(own / f"{kind}/a photo (1).PNG")
    audit, prepared = prepared_from(tmp_path, audit="strict")
    assert audit["findings"] == []
    assert "a photo (1)" in [name for split in ("train", "val", "test") for name in prepared.names(split)]


def test_image_turned_by_its_tag_is_turned_when_its_mask_was_drawn_so(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for name, orientation in (("im0", 6), ("im1", 3)):
        image = Image.open(own / f"images/{name}.png")
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(own / f"images/{name}.png", exif=exif)
    mask = np.asarray(Image.open(own / "masks/im0.png"))
    save(own / "masks/im0.png", np.rot90(mask, -1).copy())
    audit, _ = prepared_from(tmp_path, audit="strict")
    # im1 is only upside down: its mask fits as it is stored, and annotators draw on the pixels as stored.
    assert files_by_kind(audit) == {"EXIF turn not applied": ["im1"], "rotated by its EXIF tag": ["im0"]}


def test_small_images_and_masks_of_one_class_are_reported(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    generator = np.random.default_rng(1)
    save(own / "images/im0.png", generator.integers(0, 256, (20, 30, 3), np.uint8))
    save(own / "masks/im0.png", generator.integers(0, 2, (20, 30), np.uint8))
    save(own / "masks/im1.png", np.zeros((40, 60), np.uint8))
    audit, _ = prepared_from(tmp_path, audit="strict")
    assert files_by_kind(audit) == {"image too small": ["im0"], "one class only": ["im1"]}
    assert "warning: 1 x image too small: im0 (30 x 20; prepare.size is 32)" in "\n".join(summarize_audit(audit))


def test_class_that_a_split_lacks_is_reported(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in (own / "masks").iterdir():
        if path.stem != "im0":
            save(path, np.where(np.asarray(Image.open(path)) == 1, 9, np.asarray(Image.open(path))).astype(np.uint8))
    audit, prepared = prepared_from(tmp_path)
    having = next(split for split in ("train", "val", "test") if "im0" in prepared.names(split))
    lacking = [split for split in ("train", "val", "test") if split != having]
    assert sorted(files_by_kind(audit)["class absent"]) == sorted(lacking)
    assert audit["coverage"][having]["front"]["images"] == 1


def test_copies_within_and_across_splits_are_distinguished(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for number in range(1, 8):
        (own / f"images/im{number}.png").write_bytes((own / "images/im0.png").read_bytes())
    audit, _ = prepared_from(tmp_path, audit="strict")
    (leak,) = [finding for finding in audit["findings"] if finding["kind"] == "duplicate across splits"]
    assert len(re.findall(r"im\d", leak["file"] + leak["detail"])) == 4 and leak["detail"].endswith(" and 4 more")
    own = make_folders(tmp_path)
    _, prepared = prepared_from(tmp_path)
    one, other, *_ = prepared.names("train")
    (own / f"images/{other}.png").write_bytes((own / f"images/{one}.png").read_bytes())
    assert files_by_kind(prepared_from(tmp_path)[0]) == {"duplicate": [f"train/{one}"]}


def test_frames_of_one_scene_in_several_splits_are_detected_by_their_looks_and_by_their_group(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    generator = np.random.default_rng(3)
    scenes = cv2.resize(generator.integers(0, 256, (2, 5 * 6 * 3), np.uint8).reshape(2 * 5, 6, 3), (60, 80))
    for path in own.glob("*/*"):
        path.unlink()
    for number in range(8):
        frame = scenes[:40] if number < 4 else scenes[40:]
        grain = generator.normal(0, 3, frame.shape)
        name = f"{'a' if number < 4 else 'b'}_{number}.png"
        save(own / f"images/{name}", np.clip(frame + grain, 0, 255).astype(np.uint8))
        save(own / f"masks/{name}", generator.integers(0, 2, (40, 60), np.uint8))
    card = own_card(tmp_path, group="^([ab])_")
    audit, prepared = prepared_from(tmp_path, card, audit="strict")
    assert files_by_kind(audit)["group in several splits"] == ["a", "b"]
    assert [prepared.groups(split) for split in ("val", "test")] == [
        [name[0] for name in prepared.names(split)] for split in ("val", "test")
    ]
    pairs = audit["near_duplicates"]["pairs"]
    assert audit["near_duplicates"]["count"] == len(pairs) > 0
    for pair in pairs:
        assert pair["first"]["image"][0] == pair["second"]["image"][0]
        assert pair["first"]["split"] != pair["second"]["split"] and pair["correlation"] >= 0.9
    with pytest.raises(InputError, match=r"2 groups"):
        prepared_from(tmp_path, card, method="grouped")


def test_near_duplicates_beyond_the_list_are_counted() -> None:
    listed = [Finding("near-duplicate across splits", f"train/{number}") for number in range(MAX_PAIRS_LISTED)]
    audit = describe_findings(listed, near_duplicates=MAX_PAIRS_LISTED + 7)
    assert (
        audit["by_kind"]["near-duplicate across splits"]["count"] == audit["counts"]["warning"] == MAX_PAIRS_LISTED + 7
    )


def test_worst_findings_come_first_and_each_has_file_and_remedy(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    (own / "images/notes.txt").write_bytes(b"x")
    cut(own / "images/im3.png")
    save(own / "masks/im1.png", np.zeros((40, 60), np.uint8))
    audit, _ = prepared_from(tmp_path)
    assert [finding["severity"] for finding in audit["findings"]] == ["error", "warning", "note"]
    assert all(finding["file"] and finding["remedy"] for finding in audit["findings"])
    assert audit["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert len(summarize_audit(audit)) == 3 + 3


def test_summary_shows_a_few_files_and_counts_the_rest() -> None:
    lines = summarize_audit(describe_findings([Finding("hidden file", f"._{number}") for number in range(9)]))
    assert lines == ["note: 9 x hidden file: ._0; ._1; ._2; and 6 more"]


def test_summary_of_many_classes_is_a_screen() -> None:
    shares = {f"class {number}": {"share": 1 / 150, "images": 1} for number in range(150)}
    data = {
        "images": {"train": 3},
        "original_size": {"width": [4, 9], "height": [5, 5]},
        "coverage": {"train": shares | {"void": {"share": 0}}},
    }
    first, second = summarize_audit(data | describe_findings([]))
    assert first == "3 train images of 4-9 x 5 pixels"
    assert second.startswith("% of pixels in train: class 0 0.7; class 1 0.7") and second.endswith("; and 134 more")


def test_every_kind_of_finding_has_a_remedy() -> None:
    assert all(kind.remedy for kind in FINDING_KINDS.values())


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in (own / "masks").iterdir():
        save(path, np.full((40, 60), 9, np.uint8))
    with pytest.raises(InputError, match=r"none of its 8 images can be used: 8 x nothing but void"):
        prepared_from(tmp_path)


def test_split_that_fails_for_what_was_left_out_says_so(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for number in range(7):
        cut(own / f"images/im{number}.png")
    with pytest.raises(
        AuditError, match=r"1 image cannot be split .* \(already skipped: 7 x truncated image\)"
    ) as caught:
        prepared_from(tmp_path)
    assert len(caught.value.audit["findings"]) == 7


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda own: (own / "masks").rename(own / "labels"),
            r"own: lacks masks; the layout folders has images, masks",
        ),
        (
            lambda own: [path.unlink() for path in (own / "images").iterdir()],
            "no image with a mask in .*mask without",
        ),
        (lambda own: [path.unlink() for path in own.glob("*/*")], "no image with a mask in the layout folders$"),
    ],
)
def test_folder_without_pairs_is_reported(tmp_path: Path, change: Callable[[Path], Any], complaint: str) -> None:
    change(make_folders(tmp_path))
    with pytest.raises(InputError, match=complaint):
        prepared_from(tmp_path)


def test_dataset_without_lists_needs_another_split(tmp_path: Path) -> None:
    make_folders(tmp_path)
    with pytest.raises(InputError, match="has a split of its own: use random"):
        prepare(own_card(tmp_path), tmp_path / "raw", how(method="official"), tmp_path / "out")


@pytest.mark.parametrize("fit", ["stretch", "tile"])
def test_images_of_one_value_are_reported(fit: str, tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    save(own / "images/im0.png", np.full((40, 60, 3), [0, 9, 255], np.uint8))
    nearly = np.full((40, 60, 3), 255, np.uint8)
    nearly[:20] = 254
    save(own / "images/im1.png", nearly)
    audit, _ = prepared_from(tmp_path, audit="strict", fit=fit)
    assert files_by_kind(audit)["image of one value"] == ["im0"]
