"""Every kind of image and mask that real folders hold, and every way in which one can be broken."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from losslab.data.images.decode import UnusableFileError, read_image, read_mask

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


def test_16_bit_images_keep_their_upper_byte(tmp_path: Path) -> None:
    grey = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27
    Image.fromarray(grey).save(tmp_path / "grey.png")
    colour = np.stack([grey, grey[::-1], grey // 2], axis=2)
    cv2.imwrite(str(tmp_path / "colour.tif"), colour[..., ::-1])
    picture = read_image(tmp_path / "grey.png")
    assert picture.is_deep and np.array_equal(picture.pixels[..., 1], grey >> 8)
    picture = read_image(tmp_path / "colour.tif")
    assert picture.is_deep and np.array_equal(picture.pixels, colour >> 8)


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
    with pytest.raises(UnusableFileError, match="too large to read: more than 179 million pixels"):
        read_image(tmp_path / "a.png")


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
    with pytest.raises(UnusableFileError, match="unreadable image: 32 bits per pixel"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(UnusableFileError, match="unreadable mask: holds fractions"):
        read_mask(tmp_path / "a.tif", in_colours=False)


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
