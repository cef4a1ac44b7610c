"""Every kind of image and mask that real folders hold, and every way in which one can be broken."""

import re
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from losslab.data.images import pictures
from losslab.data.images.decode import UnusableFileError, measure_file, read_image, read_mask
from losslab.data.images.windows import open_image, open_mask
from losslab.io import windows
from losslab.io.windows import read_whole

RED = (200, 30, 30)
HELD = {
    "PNG": ["RGB", "L", "P", "RGBA", "LA", "1"],
    "JPEG": ["RGB", "L", "CMYK", "YCbCr"],
    "GIF": ["RGB", "L", "P", "RGBA", "1"],
    "BMP": ["RGB", "L", "P", "RGBA", "1"],
    "WEBP": ["RGB", "RGBA"],
    "TIFF": ["RGB", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "1"],
}
LABELS = np.repeat(np.array([0, 1, 2, 7], np.uint8), 10)[:, None].repeat(60, axis=1)


def noise(shape: tuple[int, ...], kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(kind)


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in HELD.items() for mode in modes])
def test_images_are_read_whatever_their_mode_and_name(tmp_path: Path, form: str, mode: str) -> None:
    red = Image.new("RGB", (60, 40), RED).convert(mode)
    path = tmp_path / "IMAGE 1.JPG"  # a name that says nothing
    red.save(path, format=form)
    pixels = read_image(path).pixels
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8
    expected = np.asarray(red.convert("RGB")).mean(axis=(0, 1))
    assert np.abs(pixels.mean(axis=(0, 1)) - expected).max() < 12


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in HELD.items() for mode in modes])
def test_large_images_are_converted_in_strips_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, mode: str
) -> None:
    Image.fromarray(noise((41, 61, 3))).convert(mode).save(tmp_path / "a", format=form)
    whole = read_image(tmp_path / "a").pixels, read_mask(tmp_path / "a", in_colours=True)
    for module in (windows, pictures):
        monkeypatch.setattr(module, "STRIP_PIXELS", 5 * 61)
    parts = read_image(tmp_path / "a").pixels, read_mask(tmp_path / "a", in_colours=True)
    assert all(np.array_equal(part, pixels) for part, pixels in zip(parts, whole, strict=True))


def save_16_bit(path: Path, values: np.ndarray, colour: bool) -> None:
    wide = values.astype(np.uint16)
    cv2.imwrite(str(path), np.stack([wide, wide // 2, wide // 2], axis=2) if colour else wide)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_16_bits_are_not_cut_to_8(tmp_path: Path, name: str, colour: bool) -> None:
    save_16_bit(tmp_path / name, np.arange(40 * 60).reshape(40, 60), colour)
    held = "3 bands of uint16" if colour else "1 band of uint16"
    for read in (read_image, measure_file, open_image):
        with pytest.raises(UnusableFileError, match=f"unexpected bands: {held}, not 3 of uint8$"):
            read(tmp_path / name)


FRAMES = [Image.fromarray(noise((20, 30))), Image.fromarray(noise((20, 30)).T.reshape(20, 30))]


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_images_and_masks_of_several_frames_are_refused(tmp_path: Path, form: str) -> None:
    FRAMES[0].save(tmp_path / "a.png", format=form, save_all=True, append_images=FRAMES[1:])
    for read in (read_image, lambda path: read_mask(path, False), lambda path: read_mask(path, True)):
        with pytest.raises(UnusableFileError, match=r"several frames: (2 of them|an animated)"):
            read(tmp_path / "a.png")


def test_smaller_copies_within_a_file_are_no_frames(tmp_path: Path) -> None:
    small = FRAMES[1].resize((10, 5))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    FRAMES[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    FRAMES[0].convert("RGB").save(
        tmp_path / "preview.jpg", format="MPO", save_all=True, append_images=[small.convert("RGB")]
    )
    assert np.array_equal(read_image(tmp_path / "pyramid.tif").pixels[..., 0], noise((20, 30)))
    assert read_image(tmp_path / "preview.jpg").pixels.shape == (20, 30, 3)


def write_tiff(path: Path, pixels: np.ndarray, photometric: int, extra: tuple[int, ...] = ()) -> None:
    """An uncompressed TIFF of any bands."""
    height, width, bands = pixels.shape
    content = pixels.tobytes()
    end = 8 + len(content)
    each, kind = 8 * pixels.itemsize, 2 if pixels.dtype.kind == "i" else 1
    bits, extras = (struct.pack("<32H", *values, *[0] * (32 - len(values))) for values in ([each] * bands, extra))
    entries = [(256, 1, width), (257, 1, height), (258, bands, end), (259, 1, 1), (262, 1, photometric), (273, 1, 8)]
    entries += [(277, 1, bands), (278, 1, height), (279, 1, len(content))]
    if bands < 3:
        entries[2] = (258, bands, each | each << 16 if bands > 1 else each)
    if extra:
        entries.append((338, len(extra), end + 64 if len(extra) > 2 else extra[0]))
    entries.append((339, 1, kind))
    kinds = {258: 3, 338: 3, 339: 3}
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kinds.get(tag, 4), count, value) for tag, count, value in entries)
    head = struct.pack("<2sHI", b"II", 42, end + 128)
    path.write_bytes(head + content + bits + extras + directory + struct.pack("<I", 0))


@pytest.mark.parametrize(
    ("bands", "photometric", "extra", "reason"),
    [
        (4, 2, (), "the file calls 3 of 4 bands colour, 0 alpha"),
        (4, 2, (0,), "the file calls 3 of 4 bands colour, 0 alpha"),
        (2, 1, (), "the file calls 1 of 2 bands colour, 0 alpha"),
        (
            3,
            1,
            (0, 0),
            "the file calls 1 of 3 bands colour, 0 alpha",
        ),  # OpenCV would take the first for all three
        (4, 1, (0, 0, 0), "the file calls 1 of 4 bands colour, 0 alpha"),
        (5, 2, (2, 0), "the file calls 3 of 5 bands colour, 1 alpha"),
        (8, 1, (), "the file calls 1 of 8 bands colour, 0 alpha"),
        (8, 2, (0, 0, 0, 0, 0), "the file calls 3 of 8 bands colour, 0 alpha"),
    ],
)
def test_bands_that_are_neither_colours_nor_alpha_are_refused(
    tmp_path: Path, bands: int, photometric: int, extra: tuple[int, ...], reason: str
) -> None:
    write_tiff(tmp_path / "a.tif", noise((20, 30, bands)), photometric, extra)
    held = re.escape(f"unexpected bands: {bands} bands of uint8 ({reason}), not 3 of uint8")
    for read in (read_image, open_image):
        with pytest.raises(UnusableFileError, match=held):
            read(tmp_path / "a.tif")
    for read_as in (read_mask, open_mask):
        with pytest.raises(UnusableFileError, match=f"unreadable mask: {reason}$"):
            read_as(tmp_path / "a.tif", True)


@pytest.mark.parametrize(("bands", "photometric", "extra"), [(4, 2, (2,)), (2, 1, (2,)), (3, 2, ())])
def test_bands_that_are_colours_and_alpha_are_read(
    tmp_path: Path, bands: int, photometric: int, extra: tuple[int, ...]
) -> None:
    pixels = noise((20, 30, bands))
    write_tiff(tmp_path / "a.tif", pixels, photometric, extra)
    expected = pixels[..., :3] if bands > 2 else pixels[..., :1].repeat(3, axis=2)
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, expected)


def test_program_of_a_postscript_image_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), RED).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(UnusableFileError, match="unknown image format"):
        read_image(tmp_path / "a.png")


def pack_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = zlib.compress(bytes(20 << 20), 9)
PAGE_OF_ITSELF = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 256, 4, 1, 8, 8)


@pytest.mark.parametrize(
    "chunk", [b"iCCPa\0\0", b"zTXta\0\0", b"iTXta\0\1\0\0\0"], ids=["profile", "text", "text of UTF-8"]
)
def test_what_lies_beside_the_pixels_is_not_inflated_without_bound(tmp_path: Path, chunk: bytes) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    plain = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(plain[:33] + pack_chunk(chunk[:4], chunk[4:] + BOMB) + plain[33:])
    with pytest.raises(UnusableFileError, match="unreadable image: Decompressed data too large"):
        read_image(tmp_path / "a.png")


def test_more_bytes_than_pixels_and_pages_without_end_do_no_harm(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 6, 4, 8, 2, 0, 0, 0)
    chunks = pack_chunk(b"IHDR", header) + pack_chunk(b"IDAT", BOMB) + pack_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert read_image(tmp_path / "a.png").pixels.shape == (4, 6, 3)
    (tmp_path / "a.tif").write_bytes(PAGE_OF_ITSELF)
    with pytest.raises(UnusableFileError, match="unreadable image"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_reported_and_applied_only_on_request(tmp_path: Path, orientation: int) -> None:
    pixels = noise((6, 9, 3))
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    picture = read_image(tmp_path / "a.png")
    assert picture.orientation == orientation and np.array_equal(picture.pixels, pixels)
    with Image.open(tmp_path / "a.png") as opened:
        turned = ImageOps.exif_transpose(opened)
    assert np.array_equal(picture.turn().pixels, np.asarray(turned))


def test_jpeg_with_an_orientation_is_read_as_stored(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 40), RED)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    picture = read_image(tmp_path / "a.jpg")
    assert picture.orientation == 6 and picture.pixels.shape == (40, 60, 3)


def test_masks_are_read_as_numbers(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "grey.png")
    palette = Image.fromarray(LABELS)
    palette.putpalette([channel for index in range(8) for channel in (index * 30, 255 - index * 30, 7)])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(LABELS).convert("RGB").save(tmp_path / "as_rgb.png")
    Image.fromarray(LABELS).convert("RGBA").save(tmp_path / "as_rgba.bmp")
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "16_bit.png")
    Image.fromarray(LABELS.astype(np.int32)).save(tmp_path / "32_bit.tif")
    Image.fromarray(LABELS.astype(np.float32)).save(tmp_path / "float.tif")
    for path in tmp_path.iterdir():
        assert np.array_equal(read_mask(path, in_colours=False), LABELS), path.name


@pytest.mark.parametrize("form", ["png", "bmp"])
def test_one_bit_masks_hold_0_and_1(tmp_path: Path, form: str) -> None:
    Image.fromarray(LABELS > 1).save(tmp_path / f"mask.{form}")
    assert np.array_equal(read_mask(tmp_path / f"mask.{form}", in_colours=False), LABELS > 1)
    assert read_mask(tmp_path / f"mask.{form}", in_colours=False).dtype == np.uint8


def test_colours_of_palette_and_rgb_masks_are_the_same(tmp_path: Path) -> None:
    palette = Image.fromarray(LABELS)
    palette.putpalette([channel for index in range(8) for channel in (index * 30, 255 - index * 30, 7)])
    palette.save(tmp_path / "palette.png")
    palette.convert("RGB").save(tmp_path / "rgb.png")
    colours = read_mask(tmp_path / "rgb.png", in_colours=True)
    assert colours[0, 0].tolist() == [0, 255, 7] and colours[-1, 0].tolist() == [210, 45, 7]
    assert np.array_equal(read_mask(tmp_path / "palette.png", in_colours=True), colours)


@pytest.mark.parametrize("form", ["png", "jpg", "bmp", "tif", "gif"])
def test_half_a_file_is_called_truncated(tmp_path: Path, form: str) -> None:
    Image.fromarray(noise((100, 120, 3))).save(tmp_path / f"a.{form}")
    content = (tmp_path / f"a.{form}").read_bytes()
    (tmp_path / f"a.{form}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnusableFileError, match="truncated image"):
        read_image(tmp_path / f"a.{form}")
    with pytest.raises(UnusableFileError, match="truncated mask"):
        read_mask(tmp_path / f"a.{form}", in_colours=True)


def test_truncated_jpeg_with_a_complete_thumbnail_is_detected(tmp_path: Path) -> None:
    Image.fromarray(noise((16, 16, 3))).save(tmp_path / "thumbnail.jpg")
    thumbnail = (tmp_path / "thumbnail.jpg").read_bytes()
    image = Image.fromarray(noise((100, 120, 3)))
    image.save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00" + thumbnail)
    assert read_image(tmp_path / "a.jpg").pixels.shape == (100, 120, 3)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:-200])
    with pytest.raises(UnusableFileError, match="truncated image"):
        read_image(tmp_path / "a.jpg")


def test_bytes_after_a_jpeg_that_look_like_another_scan_do_no_harm(tmp_path: Path) -> None:
    image = Image.fromarray(noise((40, 60, 3)))
    image.save(tmp_path / "a.jpg")
    plain = read_image(tmp_path / "a.jpg").pixels
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(b"\xff\xda" + bytes(100))
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - plain).max() <= 4  # another decoder


def write_png(path: Path, shape: tuple[int, ...], bits: int, colour_type: int, scanlines: bytes) -> None:
    """A PNG of a kind that neither Pillow nor OpenCV writes."""
    header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, colour_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("mode", ["rgb", "grey and alpha"])
def test_masks_of_16_bits_per_channel_are_refused_not_cut_to_8(tmp_path: Path, mode: str) -> None:
    wide = LABELS.astype(">u2")
    channels = np.stack([wide] * 3 if mode == "rgb" else [wide, np.full_like(wide, 65535)], axis=2)
    scanlines = b"".join(b"\0" + row.tobytes() for row in channels)
    write_png(tmp_path / "a.png", wide.shape, 16, 2 if mode == "rgb" else 4, scanlines)
    for in_colours in (True, False):
        with pytest.raises(UnusableFileError, match="unreadable mask: 16 bits per channel"):
            read_mask(tmp_path / "a.png", in_colours)


@pytest.mark.parametrize(("bits", "values"), [(2, [0, 1, 2, 3]), (4, [0, 1, 9, 15])])
def test_masks_of_few_bits_hold_the_numbers_that_are_stored(tmp_path: Path, bits: int, values: list[int]) -> None:
    labels = np.repeat(np.array(values, np.uint8), 10)[:, None].repeat(60, axis=1)
    each = 8 // bits
    packed = np.sum([labels[:, n::each] << (bits * (each - 1 - n)) for n in range(each)], axis=0).astype(np.uint8)
    write_png(tmp_path / "a.png", labels.shape, bits, 0, b"".join(b"\0" + row.tobytes() for row in packed))
    assert np.array_equal(read_mask(tmp_path / "a.png", in_colours=False), labels)


def test_image_of_too_many_pixels_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    for read in (read_image, lambda path: read_mask(path, False)):
        with pytest.raises(UnusableFileError, match="too large to read: more than 1,073 million pixels"):
            read(tmp_path / "a.png")


def test_image_of_more_pixels_than_pillow_likes_is_read(tmp_path: Path) -> None:
    Image.new("1", (20000, 10000)).save(tmp_path / "a.png")
    assert measure_file(tmp_path / "a.png") == (20000, 10000, 1)


def test_header_that_claims_too_many_pixels_takes_no_memory(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", (1 << 15, (1 << 15) + 1), 8, 0, b"")
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(4, 4), }            ", b"(4000000, 4000000), }")
    (tmp_path / "b.npy").write_bytes(content)
    for name, reason in (("a.png", "too large to read"), ("b.npy", "truncated (image|mask)")):
        for read in (read_image, open_image, lambda path: read_mask(path, False), lambda path: open_mask(path, False)):
            with pytest.raises(UnusableFileError, match=reason):
                read(tmp_path / name)


def test_at_most_two_large_images_are_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE_IMAGE_PIXELS", 100)
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    Image.new("L", (6, 4)).save(tmp_path / "small.png")
    both_inside, end = threading.Semaphore(0), threading.Event()

    def wait(image: Image.Image, mode: str) -> Image.Image:
        both_inside.release()
        assert end.wait(20)
        return image

    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(Image.Image, "convert", wait)
        large = [pool.submit(read_image, tmp_path / "a.png") for _ in range(3)]
        assert both_inside.acquire(timeout=20) and both_inside.acquire(timeout=20)
        assert not both_inside.acquire(timeout=0.1)
        end.set()
        assert [future.result().pixels.shape[:2] for future in large] == [(40, 60)] * 3
        assert read_image(tmp_path / "small.png").pixels.shape[:2] == (4, 6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no image", "unknown image format"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "unreadable image: "),
    ],
)
def test_what_is_no_image_is_reported(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnusableFileError, match=reason):
        read_image(tmp_path / "a.png")
    with pytest.raises(UnusableFileError, match="unreadable mask"):
        read_mask(tmp_path / "a.png", in_colours=False)


def test_pixels_that_are_no_numbers_of_16_bits_are_reported(tmp_path: Path) -> None:
    Image.fromarray(noise((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnusableFileError, match="1 band of float32, not 3 of uint8"):
        read_image(tmp_path / "a.tif")
    cv2.imwrite(str(tmp_path / "a.tif"), noise((8, 8, 3), np.float32))
    with pytest.raises(UnusableFileError, match="3 bands of float32, not 3 of uint8"):
        read_image(tmp_path / "a.tif")
    write_tiff(tmp_path / "a.tif", noise((8, 8, 1), np.int16), 1)
    with pytest.raises(UnusableFileError, match="1 band of int16, not 3 of uint8"):
        read_image(tmp_path / "a.tif")
    for value, reason in (
        (0.5, "fractions"),
        (np.nan, "fractions"),
        (np.inf, "fractions"),
        (-1, "values from -1"),
        (7e4, "v"),
    ):
        Image.fromarray(np.array([[0, value]], np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(UnusableFileError, match=f"unreadable mask: holds {reason}"):
            read_mask(tmp_path / "a.tif", in_colours=False)


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes")])
def test_memory_that_runs_out_is_no_damage_of_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `audit: warn` the image would be left out."""
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "_open", Mock(side_effect=error))
    with pytest.raises(type(error)):
        read_image(tmp_path / "a.png")
    with pytest.raises(type(error)):
        read_mask(tmp_path / "a.png", in_colours=False)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it meets
def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for form in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        Image.fromarray(noise((24, 30, 3))).save(tmp_path / f"a.{form}")
        content = np.frombuffer((tmp_path / f"a.{form}").read_bytes(), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            places = generator.integers(0, len(content), 8)
            damaged[places] = generator.integers(0, 256, 8)
            (tmp_path / "damaged").write_bytes(damaged.tobytes())
            for read in (lambda: read_image(tmp_path / "damaged"), lambda: read_mask(tmp_path / "damaged", True)):
                try:
                    read()
                except UnusableFileError as error:
                    assert "\n" not in str(error)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["tif", "png", "jpg"])
def test_pixels_come_as_stored_and_turn_as_the_tag_says(orientation: int, ending: str, tmp_path: Path) -> None:
    pixels = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save(path, exif=exif)
    image = read_image(path)
    assert image.orientation == orientation and np.abs(image.pixels[..., 0].astype(int) - pixels).max() <= 4
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.abs(image.turn().pixels.astype(int) - expected).max() <= 4
    assert measure_file(path) == (24, 16, orientation)
    with open_image(path) as opened_windows:
        assert np.array_equal(read_whole(opened_windows), image.pixels) and opened_windows.orientation == orientation


def test_stack_of_imagej_that_lists_one_frame_is_not_read_as_its_first(tmp_path: Path) -> None:
    planes = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    note = "ImageJ=1.54f\nimages=3\nslices=3\nloop=false\n"
    tifffile.imwrite(tmp_path / "a.tif", planes[0], description=note, metadata=None)
    for read in (read_image, lambda path: read_mask(path, in_colours=False)):
        with pytest.raises(UnusableFileError, match="several frames: 3 of them"):
            read(tmp_path / "a.tif")
