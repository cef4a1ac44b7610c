"""Files of any bands and type, whole and by windows."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from losslab.bands import MAX_BANDS, RGB, BandFormat
from losslab.data.images import tiff
from losslab.data.images.decode import UnusableFileError, decode_image, measure_file, read_image, read_mask
from losslab.data.images.windows import ImageWindows, describe_bands, open_image, open_mask

HEIGHT, WIDTH = 75, 90


def bands(count: int, dtype: Any = "uint16") -> BandFormat:
    return BandFormat(names=[f"band{number}" for number in range(count)], dtype=dtype, shown=[0, 0, 0])


def noise(count: int, dtype: str = "uint16", high: int = 60000) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256 if dtype in ("uint8", "int8") else high, (HEIGHT, WIDTH, count))
    return values.astype(dtype) if "float" not in dtype else (values / 7 - 99).astype(dtype)


def check_windows(image: ImageWindows, whole: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    with image:
        assert (image.height, image.width) == whole.shape[:2]
        for _ in range(12):
            top, left = int(generator.integers(HEIGHT)), int(generator.integers(WIDTH))
            height, width = (
                int(generator.integers(1, 1 + HEIGHT - top)),
                int(generator.integers(1, 1 + WIDTH - left)),
            )
            window = image.read(top, left, height, width)
            assert window.dtype == whole.dtype and window.flags.writeable
            assert np.array_equal(window, whole[top : top + height, left : left + width])


TIFFS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strips": {"rowsperstrip": 16},
    "deflate": {"compression": "deflate", "rowsperstrip": 16, "predictor": True},
    "lzw": {"compression": "lzw", "tile": (32, 48)},
    "zstd": {"compression": "zstd", "tile": (16, 16)},
    "tiles": {"tile": (32, 32)},
    "big": {"bigtiff": True, "byteorder": ">"},
    "big endian": {"byteorder": ">", "compression": "deflate", "tile": (32, 32), "predictor": True},
}


@pytest.mark.parametrize("options", TIFFS.values(), ids=TIFFS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("count", "dtype"), [(1, "uint16"), (5, "uint16"), (4, "float32"), (2, "uint8")])
def test_bands_of_a_tiff_are_read_untouched_whole_and_by_windows(
    tmp_path: Path, options: dict[str, Any], planar: str, count: int, dtype: str
) -> None:
    pixels, path = noise(count, dtype), tmp_path / "a.tif"
    stored = np.moveaxis(pixels, -1, 0) if planar == "separate" and count > 1 else pixels
    tifffile.imwrite(
        path, stored if count > 1 else stored[..., 0], photometric="minisblack", planarconfig=planar, **options
    )
    card = bands(count, dtype)
    assert np.array_equal(read_image(path, card).pixels, pixels)
    assert np.array_equal(decode_image(path.read_bytes(), card).pixels, pixels)
    assert measure_file(path, card) == (WIDTH, HEIGHT, 1)
    check_windows(open_image(path, card), pixels)


RGB_FILES: dict[str, Callable[[Path], Any]] = {
    "rgb": lambda path: tifffile.imwrite(path, noise(3, "uint8"), photometric="rgb", rowsperstrip=16),
    "deflate": lambda path: tifffile.imwrite(
        path, noise(3, "uint8"), photometric="rgb", compression="deflate", tile=(32, 32)
    ),
    "planar": lambda path: tifffile.imwrite(
        path, np.moveaxis(noise(3, "uint8"), -1, 0), photometric="rgb", planarconfig="separate"
    ),
    "alpha": lambda path: tifffile.imwrite(path, noise(4, "uint8"), photometric="rgb", extrasamples=["unassalpha"]),
    "premultiplied": lambda path: tifffile.imwrite(
        path, noise(4, "uint8"), photometric="rgb", extrasamples=["assocalpha"]
    ),
    "grey": lambda path: tifffile.imwrite(path, noise(1, "uint8")[..., 0]),
    "white is 0": lambda path: tifffile.imwrite(path, noise(1, "uint8")[..., 0], photometric="miniswhite"),
    "jpeg": lambda path: tifffile.imwrite(
        path, cv2.blur(noise(3, "uint8"), (9, 9)), photometric="ycbcr", compression="jpeg", tile=(32, 32)
    ),
    "palette": lambda path: Image.fromarray(noise(3, "uint8")).quantize(9).save(path, "TIFF"),
    "cmyk": lambda path: Image.fromarray(noise(3, "uint8")).convert("CMYK").save(path, "TIFF"),
    "one bit": lambda path: Image.fromarray(noise(1)[..., 0] > 9999).save(path, "TIFF"),
    "turned": lambda path: tifffile.imwrite(
        path, noise(3, "uint8"), photometric="rgb", extratags=[(274, 3, 1, 3, True)]
    ),
    "png": lambda path: Image.fromarray(noise(3, "uint8")).save(path, "PNG"),
    "jpg": lambda path: Image.fromarray(noise(3, "uint8")).save(path, "JPEG"),
    "npy": lambda path: np.save(path.open("wb"), noise(3, "uint8")),
    "npy of planes": lambda path: np.save(path.open("wb"), np.moveaxis(noise(3, "uint8"), -1, 0)),
    "grey npy": lambda path: np.save(path.open("wb"), noise(1, "uint8")[..., 0]),
}


@pytest.mark.parametrize("write", RGB_FILES.values(), ids=RGB_FILES)
def test_windows_of_rgb_are_those_of_the_whole_image(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    write(tmp_path / "a.tif")
    whole = read_image(tmp_path / "a.tif")
    assert whole.pixels.shape == (HEIGHT, WIDTH, 3) and whole.pixels.dtype == np.uint8
    check_windows(open_image(tmp_path / "a.tif"), whole.pixels)
    assert describe_bands(tmp_path / "a.tif").is_rgb
    assert measure_file(tmp_path / "a.tif")[:2] == (WIDTH, HEIGHT)


OTHERS: dict[str, tuple[Callable[[Path, np.ndarray], Any], int, str]] = {
    "npy": (lambda path, pixels: np.save(path.open("wb"), pixels), 5, "float32"),
    "npy of planes": (lambda path, pixels: np.save(path.open("wb"), np.moveaxis(pixels, -1, 0)), 5, "uint16"),
    "npy in columns": (lambda path, pixels: np.save(path.open("wb"), np.asfortranarray(pixels)), 5, "uint16"),
    "npy of another order": (lambda path, pixels: np.save(path.open("wb"), pixels.astype(">u2")), 5, "uint16"),
    "png": (lambda path, pixels: path.write_bytes(imagecodecs.png_encode(pixels[..., 0])), 1, "uint16"),
    "png of 2": (lambda path, pixels: path.write_bytes(imagecodecs.png_encode(pixels)), 2, "uint16"),
    "png of 3": (lambda path, pixels: path.write_bytes(imagecodecs.png_encode(pixels)), 3, "uint16"),
    "png of 4": (lambda path, pixels: path.write_bytes(imagecodecs.png_encode(pixels)), 4, "uint16"),
    "grey png": (lambda path, pixels: Image.fromarray(pixels[..., 0]).save(path, "PNG"), 1, "uint8"),
    "rgba png": (lambda path, pixels: Image.fromarray(pixels).save(path, "PNG"), 4, "uint8"),
    "webp": (lambda path, pixels: Image.fromarray(pixels).save(path, "WEBP", lossless=True), 3, "uint8"),
    "bmp": (lambda path, pixels: Image.fromarray(pixels).save(path, "BMP"), 3, "uint8"),
    "pages": (
        lambda path, pixels: tifffile.imwrite(
            path, np.moveaxis(pixels, -1, 0), photometric="minisblack", compression="lzw"
        ),
        5,
        "uint16",
    ),
    "imagej": (lambda path, pixels: tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), imagej=True), 5, "uint16"),
    "ome": (
        lambda path, pixels: tifffile.imwrite(
            path, np.moveaxis(pixels, -1, 0), ome=True, photometric="minisblack", metadata={"axes": "CYX"}
        ),
        5,
        "float32",
    ),
}


@pytest.mark.parametrize(("write", "count", "dtype"), OTHERS.values(), ids=OTHERS)
def test_bands_of_other_files_are_read_untouched_whole_and_by_windows(
    tmp_path: Path, write: Callable[[Path, np.ndarray], Any], count: int, dtype: str
) -> None:
    pixels, path, card = noise(count, dtype), tmp_path / "a", bands(count, dtype)
    write(path, pixels)
    held = describe_bands(path)
    assert (held.bands, held.dtype.name) == (count, dtype) and held.has_alpha == (count in (2, 4))
    assert np.array_equal(read_image(path, card).pixels, pixels)
    check_windows(open_image(path, card), pixels)


def test_planes_that_follow_the_only_page_of_an_imagej_file_are_bands(tmp_path: Path) -> None:
    pixels = noise(5)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(pixels, -1, 0), imagej=True, truncate=True)
    check_windows(open_image(tmp_path / "a.tif", bands(5)), pixels)


@pytest.mark.parametrize(
    ("held", "said"),
    [("int16", "uint16"), ("int16", "float32"), ("float64", "float32"), ("float16", "float32"), ("bool", "uint8")],
)
def test_values_of_types_that_fit_are_taken_as_the_card_has_them(tmp_path: Path, held: str, said: str) -> None:
    pixels = noise(2, "uint16", 30000).astype(held)
    np.save(tmp_path / "a.npy", pixels)
    read = read_image(tmp_path / "a.npy", bands(2, said)).pixels
    assert read.dtype == said and np.array_equal(read, pixels)


@pytest.mark.parametrize(
    ("count", "held", "said", "reason"),
    [
        (2, "uint8", bands(2), "2 bands of uint8, not 2 of uint16"),
        (2, "int32", bands(2), "2 bands of int32, not 2 of uint16"),
        (2, "uint16", bands(2, "float32"), "2 bands of uint16, not 2 of float32"),
        (3, "uint16", bands(4), "3 bands of uint16, not 4 of uint16"),
        (3, "uint16", RGB, "3 bands of uint16, not 3 of uint8"),
        (4, "uint8", RGB, "4 bands of uint8, not 3 of uint8"),
    ],
)
def test_files_unlike_the_card_are_refused(
    tmp_path: Path, count: int, held: str, said: BandFormat, reason: str
) -> None:
    np.save(tmp_path / "a.npy", noise(count, held))
    for read in (read_image, open_image, measure_file):
        with pytest.raises(UnusableFileError, match=f"^unexpected bands: {reason}$"):
            read(tmp_path / "a.npy", said)


def test_negative_numbers_and_gaps_are_refused(tmp_path: Path) -> None:
    pixels = noise(2, "uint16", 9).astype(np.int16)
    pixels[3, 4, 1] = -7
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(UnusableFileError, match="2 bands of int16 with negative values, not 2 of uint16"):
        read_image(tmp_path / "a.npy", bands(2))
    gaps = noise(2, "float32")
    gaps[0, 0, 0], gaps[1, 1], gaps[2, 2, 1] = np.nan, np.inf, 1e30
    np.save(tmp_path / "a.npy", gaps)
    with pytest.raises(UnusableFileError, match=f"values that are not finite: in 2 of {HEIGHT * WIDTH} pixels"):
        read_image(tmp_path / "a.npy", bands(2, "float32"))


def test_alpha_is_a_band_only_where_the_card_has_it(tmp_path: Path) -> None:
    pixels = noise(4)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    for name in ("a.tif", "a.png"):
        assert np.array_equal(read_image(tmp_path / name, bands(4)).pixels, pixels)
        assert np.array_equal(read_image(tmp_path / name, bands(3)).pixels, pixels[..., :3])
    with pytest.raises(UnusableFileError, match="4 bands of uint16, not 3"):
        read_image(tmp_path / "b.tif", bands(3))


def test_frames_that_are_no_bands_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([noise(3, "uint8")] * 2), photometric="rgb")
    with pytest.raises(UnusableFileError, match="several frames: 2 of them"):
        open_image(tmp_path / "a.tif", bands(2, "uint8"))


MASKS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "tiff": lambda path, labels: tifffile.imwrite(path, labels),
    "tiles": lambda path, labels: tifffile.imwrite(path, labels, compression="lzw", tile=(16, 32)),
    "floats": lambda path, labels: tifffile.imwrite(path, labels.astype(np.float64)),
    "npy": lambda path, labels: np.save(path.open("wb"), labels),
    "npy of int64": lambda path, labels: np.save(path.open("wb"), labels.astype(np.int64)),
    "png": lambda path, labels: Image.fromarray(labels).save(path, "PNG"),
}


@pytest.mark.parametrize("write", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_windows_of_masks_are_those_of_the_whole_mask(
    tmp_path: Path, write: Callable[[Path, np.ndarray], Any], dtype: str
) -> None:
    labels, path = noise(1, dtype)[..., 0], tmp_path / "a"
    write(path, labels)
    whole = read_mask(path, in_colours=False)
    assert np.array_equal(whole, labels)
    check_windows(open_mask(path, in_colours=False), whole)


def test_windows_of_masks_in_colours_are_those_of_the_whole_mask(tmp_path: Path) -> None:
    grey, pixels = noise(1, "uint8").repeat(3, axis=2), noise(3, "uint8")
    tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="rgb")
    check_windows(open_mask(tmp_path / "grey.tif", in_colours=False), grey[..., 0])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="lzw")
    np.save(tmp_path / "a.npy", pixels)
    for name in ("a.tif", "a.npy"):
        assert np.array_equal(read_mask(tmp_path / name, in_colours=True), pixels)
        check_windows(open_mask(tmp_path / name, in_colours=True), pixels)
        with pytest.raises(UnusableFileError, match="label not in the card: is in colours"):
            open_mask(tmp_path / name, in_colours=False).read(0, 0, 9, 9)


def test_arrays_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    for shape in ((9, 8, 2), (9, 8, 4), (9,), (2, 9, 8, 3), (0, 8)):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        with pytest.raises(
            UnusableFileError, match=r"unreadable mask: (holds \d bands of uint8|an array of uint8 and)"
        ):
            read_mask(tmp_path / "a.npy", in_colours=False)


def test_arrays_of_objects_are_refused_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 2), {1: 2}, object))
    with pytest.raises(UnusableFileError, match="unreadable image: an array of object and shape"):
        read_image(tmp_path / "a.npy")


def test_masks_of_fractions_are_refused_by_windows_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), 0.5, np.float32))
    np.save(tmp_path / "a.npy", np.full((9, 9), 0.5, np.float32))
    for name in ("a.tif", "a.npy"):
        with open_mask(tmp_path / name, False) as mask, pytest.raises(UnusableFileError, match="holds fractions"):
            mask.read(0, 0, 2, 2)


@pytest.mark.parametrize("options", [{}, {"compression": "deflate", "tile": (16, 16)}])
def test_half_a_tiff_is_called_truncated(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(5), photometric="minisblack", planarconfig="contig", **options)
    path.write_bytes(path.read_bytes()[:-999])
    with pytest.raises(UnusableFileError, match="truncated image"):
        read_image(path, bands(5))


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it meets
def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(0), tmp_path / "a"
    tifffile.imwrite(path, noise(5), photometric="minisblack", compression="lzw", tile=(16, 16))
    files = [path.read_bytes()]
    np.save(path.open("wb"), noise(5))
    for content in (*files, path.read_bytes()):
        for _ in range(20):
            damaged = np.frombuffer(content, np.uint8).copy()
            places = np.append(generator.integers(0, len(damaged), 4), generator.integers(0, 300, 4))
            damaged[places] = generator.integers(0, 256, 8)
            path.write_bytes(damaged.tobytes())
            for attempt in range(3):
                try:
                    if attempt == 0:
                        open_image(path, bands(5)).read(9, 9, 30, 30)
                    elif attempt == 1:
                        open_image(path).read(0, 0, 9, 9)
                    else:
                        open_mask(path, False).read(0, 0, 9, 9)
                except UnusableFileError as error:
                    assert "\n" not in str(error)


def test_strips_and_tiles_are_decoded_once_while_windows_need_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(2)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", tile=(16, 16))
    monkeypatch.setattr(tiff, "CACHE_BYTES", 6 * 16 * 16 * 2 * 2)
    with open_image(tmp_path / "a.tif", bands(2)) as image:
        windows = image.windows
        assert isinstance(windows, tiff.TiffWindows)
        image.read(0, 0, 16, WIDTH)
        kept = dict(windows.decoded)
        assert len(kept) == 6
        image.read(0, 8, 16, 30)
        assert all(windows.decoded[key] is part for key, part in kept.items())
        image.read(16, 0, 16, WIDTH)
        assert len(windows.decoded) == 6 and not kept.keys() & windows.decoded.keys()
        image.read(0, 0, HEIGHT, WIDTH)
        assert len(windows.decoded) == 6
        monkeypatch.setattr(tiff, "CACHE_BYTES", 0)
        image.read(0, 0, HEIGHT, WIDTH)
        assert len(windows.decoded) == 1
    tifffile.imwrite(
        tmp_path / "b.tif", pixels, photometric="minisblack", planarconfig="contig", compression="lzw", rowsperstrip=8
    )
    with open_image(tmp_path / "b.tif", bands(2)) as image:
        image.read(0, 0, 40, 30)
        assert isinstance(image.windows, tiff.TiffWindows)
        assert len(image.windows.decoded) == 5  # the window beside it needs them too


@pytest.mark.parametrize("name", ["a.tif", "b.tif", "a.npy"])
def test_files_are_closed_at_the_end(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(1)[..., 0])
    tifffile.imwrite(tmp_path / "b.tif", noise(1)[..., 0], compression="lzw")
    np.save(tmp_path / "a.npy", noise(1))
    for opened in (open_image(tmp_path / name, bands(1)), open_mask(tmp_path / name, False)):
        with opened as image:
            image.read(0, 0, 9, 9)
        assert isinstance(image.content, mmap.mmap) and image.content.closed


def test_names_of_bands_are_found_in_the_file(tmp_path: Path) -> None:
    planes = np.moveaxis(noise(2), -1, 0)
    tifffile.imwrite(tmp_path / "ij.tif", planes, imagej=True, metadata={"axes": "CYX", "Labels": ["nucleus", "cell"]})
    tifffile.imwrite(
        tmp_path / "ome.tif", planes, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["nucleus", "cell"]}}
    )
    gdal = '<GDALMetadata><Item name="DESCRIPTION" sample="1" role="description">cell</Item>'
    gdal += '<Item name="DESCRIPTION" sample="0" role="description">nucleus</Item></GDALMetadata>'
    tifffile.imwrite(tmp_path / "gdal.tif", noise(2), photometric="minisblack", extratags=[(42112, 2, 0, gdal, True)])
    tifffile.imwrite(tmp_path / "none.tif", noise(2), photometric="minisblack")
    assert [list(describe_bands(tmp_path / f"{name}.tif").names) for name in ("ij", "ome", "gdal", "none")] == [
        *[["nucleus", "cell"]] * 3,
        [],
    ]


def test_axis_of_bands_is_that_which_can_be_one(tmp_path: Path) -> None:
    for shape, count in (((40, 50), 1), ((40, 50, 7), 7), ((7, 40, 50), 7), ((3, 40, 3), 3)):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint16))
        assert describe_bands(tmp_path / "a.npy").bands == count <= MAX_BANDS
