"""The served model takes images as files or arrays, and gives the masks of predict_image."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from losslab import models
from losslab.data.images.decode import decode_image
from losslab.errors import InputError
from losslab.inference.predictor import Predictor
from losslab.prediction.label_map import predict_image
from losslab.serving.model import ServedModel, _load_pyfunc
from losslab.serving.register import _draw_example, pack_model
from tests.export.small_model import DESCRIPTION, describe_bands, save_small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(folder: Path) -> ServedModel:
    return _load_pyfunc(str(folder))


@pytest.fixture
def image(rng: Any) -> Any:
    return rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encode_file(image: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **options)
    return file.getvalue()


def encode_tiff(image: Any) -> bytes:
    file = io.BytesIO()
    layout: dict[str, Any] = {"planarconfig": "contig"} if image.shape[2] > 1 else {}
    tifffile.imwrite(file, image.squeeze(2) if image.shape[2] == 1 else image, photometric="minisblack", **layout)
    return file.getvalue()


def encode_array(image: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()


def expected(folder: Path, image: Any) -> Any:
    return predict_image(Predictor(*models.load(folder)), image)


@pytest.mark.parametrize(
    "form", [lambda i: i, encode_file, lambda i: base64.b64encode(encode_file(i)).decode(), lambda i: i.tolist()]
)
def test_image_in_any_form_gives_the_mask_of_predict(form: Any, served: ServedModel, folder: Path, image: Any) -> None:
    (mask,) = served.predict({"image": [form(image)]})
    assert isinstance(mask, np.ndarray) and mask.dtype == np.uint8 and mask.shape == (40, 56)
    np.testing.assert_array_equal(mask, expected(folder, image))


def test_images_of_different_sizes_come_back_in_order(served: ServedModel, folder: Path, image: Any) -> None:
    other = image[:17, 3:]
    first, second = served.predict({"image": [other, encode_file(image)]})
    np.testing.assert_array_equal(first, expected(folder, other))
    np.testing.assert_array_equal(second, expected(folder, image))


def test_orientation_tag_is_followed(served: ServedModel, image: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (mask,) = served.predict({"image": [encode_file(image, exif=exif)]})
    assert isinstance(mask, np.ndarray) and mask.shape == (56, 40)


def test_png_holds_labels_in_the_colours_of_the_card(served: ServedModel, folder: Path, image: Any) -> None:
    (text,) = served.predict({"image": [image]}, {"masks": "png"})
    assert isinstance(text, str)
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    np.testing.assert_array_equal(np.asarray(picture), expected(folder, image))
    colours = np.asarray(DESCRIPTION["palette"])[np.asarray(picture)]
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), colours)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (b"no image", "image 1: unreadable image: "),
        ("!!", "image 1: a text must be an image file in base64"),
        (np.zeros((4, 4), np.uint8), r"image 1: an array must be uint8 \[H, W, 3\], RGB, not uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), "image 1: an array must be uint8 .* not float32"),
        (np.full((4, 4, 3), 300), "image 1: an array must be uint8 .* not int64"),
        (np.zeros((0, 4, 3), np.uint8), "image 1: an array must be uint8"),
        ([[1], [2, 3]], "image 1: "),
        (None, "image 1: "),
    ],
)
def test_what_is_not_an_image_is_reported_with_its_row(
    bad: Any, complaint: str, served: ServedModel, image: Any
) -> None:
    with pytest.raises(InputError, match=complaint):
        served.predict({"image": [image, bad]})


@pytest.mark.parametrize(
    ("count", "dtype"), [(1, "uint16"), (2, "float32"), (6, "uint16"), (6, "float32"), (2, "uint8")]
)
def test_image_of_other_bands_in_any_form_gives_the_mask_of_predict(
    count: int, dtype: str, tmp_path: Path, rng: Any
) -> None:
    high = 250.0 if dtype == "uint8" else 1.5 if dtype == "float32" else 10000.0
    about = describe_bands(count, dtype, high / 10, high)
    about["bands"]["high"] = [high] * count
    folder = save_small_model(tmp_path, **about | {"mean": [0.5] * count, "std": [0.01] * count})
    served = _load_pyfunc(str(folder))
    image = np.repeat(rng.random((5, 7, count)) * high, 8, axis=0).astype(dtype)
    mask = expected(folder, image)
    assert mask.shape == (40, 7) and len(np.unique(mask)) > 1
    forms = [
        image,
        image.tolist(),
        encode_tiff(image),
        encode_array(image),
        base64.b64encode(encode_tiff(image)).decode(),
    ]
    for same in served.predict({"image": forms}):
        np.testing.assert_array_equal(same, mask)


SIX_SHORTS, TWO_FLOATS = describe_bands(6), describe_bands(2, "float32", 0, 1.5)


@pytest.mark.parametrize(
    ("bands", "bad", "complaint"),
    [
        (SIX_SHORTS, np.zeros((4, 4, 3), np.uint16), r"uint16 \[H, W, 6\], bands B02, .*, B12, not uint16 \[4, 4, 3\]"),
        (SIX_SHORTS, np.zeros((4, 4, 6), np.uint8), r"uint16 \[H, W, 6\], .*, not uint8 \[4, 4, 6\]"),
        (SIX_SHORTS, np.zeros((4, 4, 6), np.float32), r"uint16 .*, not float32 \[4, 4, 6\]"),
        (SIX_SHORTS, np.full((4, 4, 6), 65536), r"uint16 .*, not int64 \[4, 4, 6\]"),
        (SIX_SHORTS, np.full((4, 4, 6), -1), r"uint16 .*, not int64 \[4, 4, 6\]"),
        (SIX_SHORTS, np.zeros((4, 0, 6), np.uint16), r"uint16 .*, not uint16 \[4, 0, 6\]"),
        (TWO_FLOATS, np.zeros((4, 4), np.float32), r"finite float32 \[H, W, 2\], bands B02, B03, not float32 \[4, 4\]"),
        (TWO_FLOATS, np.full((4, 4, 2), np.nan, np.float32), r"finite float32 .*, not float32 \[4, 4, 2\]"),
        (TWO_FLOATS, np.full((4, 4, 2), 1e39), r"finite float32 .*, not float64 \[4, 4, 2\]"),
        (TWO_FLOATS, np.zeros((4, 4, 2), np.uint8), r"finite float32 .*, not uint8 \[4, 4, 2\]"),
        (TWO_FLOATS, np.full((4, 4, 2), "x"), r"finite float32 .*, not <U1 \[4, 4, 2\]"),
    ],
)
def test_array_of_other_bands_or_type_is_refused(bands: Any, bad: Any, complaint: str, tmp_path: Path) -> None:
    served = _load_pyfunc(str(save_small_model(tmp_path, **bands)))
    with pytest.raises(InputError, match=rf"^image 0: an array must be {complaint}$"):
        served.predict({"image": [bad]})


@pytest.mark.parametrize("encode", [encode_file, encode_tiff, encode_array])
def test_file_of_other_bands_than_the_models_is_refused(encode: Any, tmp_path: Path, image: Any) -> None:
    served = _load_pyfunc(str(save_small_model(tmp_path, **SIX_SHORTS)))
    with pytest.raises(InputError, match=r"^image 0: .*3 bands of uint8.* 6 of uint16") as refused:
        served.predict({"image": [encode(image)]})
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"^image 0: "):
        served.predict({"image": [b"no image"]})


def test_limits_hold_for_files_that_pillow_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = _load_pyfunc(str(save_small_model(tmp_path, **SIX_SHORTS)))
    image = np.zeros((20, 25, 6), np.uint16)
    monkeypatch.setattr("losslab.serving.model.MAX_PIXELS", 1000)
    assert len(served.predict({"image": [encode_tiff(image), encode_array(image)]})) == 2
    monkeypatch.setattr("losslab.serving.model.MAX_PIXELS", 499)
    monkeypatch.setattr("losslab.serving.model.decode_image", lambda *_: pytest.fail("decoded"))
    for form in (image, encode_tiff(image), encode_array(image)):
        with pytest.raises(InputError, match=r"^image 0: the images up to here have more than 64 MB"):
            served.predict({"image": [form]})


@pytest.mark.parametrize("bands", [describe_bands(1), TWO_FLOATS, SIX_SHORTS, describe_bands(3, "uint8", 0, 200)])
def test_example_is_an_image_that_the_model_takes(bands: Any, tmp_path: Path) -> None:
    served = _load_pyfunc(str(save_small_model(tmp_path, **bands)))
    example = _draw_example(served.predictor.description)
    assert example == _draw_example(served.predictor.description) and len(example) < 20_000
    (mask,) = served.predict({"image": [example]})
    assert isinstance(mask, np.ndarray) and mask.shape == (32, 32)
    drawn = decode_image(example, served.bands).pixels
    assert drawn.dtype == bands["bands"]["dtype"] and drawn.min() == bands["bands"]["low"][0]
    assert drawn.max() == pytest.approx(bands["bands"]["high"][0])


def test_example_for_rgb_is_a_png_of_eight_bits() -> None:
    with Image.open(io.BytesIO(_draw_example(DESCRIPTION))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (32, 32))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_request_beyond_the_documented_limits_is_refused_before_it_is_decoded(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^image: more than 64 rows; send them in several requests$"):
        served.predict({"image": [np.zeros((4, 4, 3), np.uint8)] * 65})
    monkeypatch.setattr("losslab.serving.model.decode_image", lambda *_: pytest.fail("decoded"))
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    large = file.getvalue()
    for form in (large, base64.b64encode(large).decode(), np.broadcast_to(np.uint8(0), (13_000, 13_000, 3))):
        with pytest.raises(
            InputError, match=r"^image 0: the images up to here have more than 64 MB and 20 Mpixel; send "
        ):
            served.predict({"image": [form]})
    with pytest.raises(InputError, match=r"^image 0: the images up to here have more than 64 MB"):
        served.predict({"image": [bytes(65_000_000)]})


def test_limits_hold_for_all_images_of_a_request_together(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losslab.serving.model.MAX_PIXELS", 1000)
    assert len(served.predict({"image": [np.zeros((20, 25, 3), np.uint8)] * 2})) == 2
    with pytest.raises(InputError, match=r"^image 2: "):
        served.predict({"image": [np.zeros((20, 20, 3), np.uint8).tolist()] * 3})


def test_unknown_kind_of_masks_is_refused(served: ServedModel, image: Any) -> None:
    with pytest.raises(InputError, match="masks is 'gif', but must be array or png"):
        served.predict({"image": [image]}, {"masks": "gif"})


def test_net_with_damaged_weights_gives_no_mask(tmp_path: Path, image: Any) -> None:
    with pytest.raises(InputError, match="not finite"):
        _load_pyfunc(str(save_small_model(tmp_path, damaged=True))).predict({"image": [image]})


def test_package_holds_what_is_needed_and_nothing_of_this_machine(folder: Path, tmp_path: Path) -> None:
    description = DESCRIPTION | {"run": {"encoder_weights": str(tmp_path / "mine.pth"), "train": {"device": "cpu"}}}
    net, _ = models.load(folder)
    models.save(tmp_path / "models", net, description)
    requirements = pack_model(tmp_path / "models", tmp_path / "packed")
    names = {line.partition("==")[0] for line in requirements}
    assert {"mlflow", "torch", "numpy", "opencv-python-headless", "pillow", "tifffile", "imagecodecs"} <= names
    assert not names & {"dvc", "lightning", "timm", "segmentation_models_pytorch", "albumentations", "typer"}
    shipped = {path.relative_to(tmp_path / "packed").as_posix() for path in (tmp_path / "packed").rglob("*.py")}
    assert "code/losslab/models/simple_cnn.py" in shipped and "code/losslab/serving/model.py" in shipped
    assert not [path for path in shipped if "tracking" in path or "cli" in path]
    texts = [path.read_bytes() for path in (tmp_path / "packed").rglob("*") if path.is_file()]
    assert not [text for text in texts if str(tmp_path).encode() in text or str(Path.home()).encode() + b"/" in text]


def test_net_on_an_encoder_is_packed_with_its_packages(tmp_path: Path) -> None:
    encoder = "tu-mobilenetv3_small_050"
    model = save_small_model(tmp_path / "models", arch="unet", encoder=encoder)
    names = {line.partition("==")[0] for line in pack_model(model, tmp_path / "packed")}
    assert {"timm", "segmentation_models_pytorch", "torchvision"} <= names
    assert json.loads((tmp_path / "packed/model/model.json").read_text(encoding="utf-8"))["encoder"] == encoder
