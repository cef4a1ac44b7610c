"""Images in, masks out: the predictions, their batches, and what becomes of bad files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

from losslab.data.images.decode import UnusableFileError, read_image
from losslab.data.images.fit import Fit, fit_image
from losslab.errors import InputError
from losslab.inference.predictor import Predictor, restore_size
from losslab.inference.tensors import to_labels, to_probabilities
from losslab.inference.tiling import build_tiling, predict_tiled
from losslab.io.windows import ArrayWindows
from losslab.models.segmentation_net import SegmentationNet
from losslab.prediction import loading
from losslab.prediction import predict as predicting
from losslab.prediction.inputs import find_jobs
from losslab.prediction.label_map import predict_image
from losslab.prediction.predict import PredictionSummary, PredictOptions, predict_images
from tests.prediction.nets import CPU, TWO_BANDS, OneSize, build_description, build_small_net, draw_noise, write_geotiff

SIZES = [(30, 50), (16, 16), (50, 30), (30, 50), (30, 50), (9, 12), (40, 41)]


def predictor(outputs: int = 3, net: nn.Module | None = None, **changes: Any) -> Predictor:
    return Predictor(net or build_small_net(outputs), build_description(outputs, **changes), device=CPU)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images of several sizes."""
    (tmp_path / "in").mkdir()
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(draw_noise((height, width, 3), number)).save(tmp_path / f"in/{number}.png")
    return tmp_path


def run(folder: Path, net: Predictor, options: PredictOptions | None = None, out: str = "out") -> PredictionSummary:
    return predict_images(net, find_jobs([str(folder / "in")], folder / out), folder / out, options or PredictOptions())


def mask(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_trained_scale_gives_the_masks_that_evaluate_scores_at_original_size(
    folder: Path, fit: Fit, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared images in batches, logits back at each image's size: bit for bit."""
    monkeypatch.setattr("losslab.inference.tiling.MAX_LOGITS_AT_ONCE", 300)
    net = predictor(outputs, fit=fit)
    outcome = run(folder, net, PredictOptions(batch_size=4))
    images = [read_image(path).pixels for path in sorted((folder / "in").iterdir())]
    prepared = torch.from_numpy(np.stack([fit_image(image, 16, fit) for image in images]))
    logits = torch.cat([net.compute_logits(batch) for batch in torch.split(prepared, 4)])
    for number, (height, width) in enumerate(SIZES):
        expected = to_labels(restore_size(logits[number : number + 1], height, width, fit))[0].numpy()
        assert np.array_equal(mask(folder / f"out/{number}.png"), expected) and len(np.unique(expected)) > 1
    assert outcome.images == 7 and outcome.pixels == sum(height * width for height, width in SIZES)


@pytest.mark.parametrize("scale", ["trained", "original"])
def test_what_else_is_in_the_batch_changes_nothing(folder: Path, scale: Any) -> None:
    net = predictor(net=SegmentationNet(build_small_net(3), 4))
    run(folder, net, PredictOptions(scale=scale, batch_size=1), "one")
    run(folder, net, PredictOptions(scale=scale, batch_size=50), "many")
    for number in range(7):
        assert np.array_equal(mask(folder / f"one/{number}.png"), mask(folder / f"many/{number}.png"))


def test_trained_scale_is_that_of_one_image(folder: Path) -> None:
    net = predictor()
    run(folder, net, PredictOptions(batch_size=1))
    for number in range(7):
        image = read_image(folder / f"in/{number}.png").pixels
        assert np.array_equal(mask(folder / f"out/{number}.png"), predict_image(net, image))


@pytest.mark.parametrize("tile", [1024, 20])
def test_original_scale_is_one_pass_also_in_tiles(folder: Path, tile: int) -> None:
    net = predictor(net=SegmentationNet(build_small_net(3), 4))
    run(folder, net, PredictOptions(scale="original", tile=tile, overlap=0.5))
    for number in range(7):
        pixels = torch.tensor(read_image(folder / f"in/{number}.png").pixels)
        assert np.array_equal(
            mask(folder / f"out/{number}.png"), to_labels(net.compute_logits(pixels[None]))[0].numpy()
        )


@pytest.mark.parametrize("options", [PredictOptions(), PredictOptions(scale="original", tile=24)])
def test_tile_net_sees_images_at_their_own_size(folder: Path, options: PredictOptions) -> None:
    net = predictor(net=SegmentationNet(build_small_net(3), 4), fit="tile")
    run(folder, net, options)
    side = 16 if options.scale == "trained" else 24
    for number in range(7):
        image = ArrayWindows(read_image(folder / f"in/{number}.png").pixels)
        parts = predict_tiled(net.compute_logits, image, build_tiling(side, 0.25, 4), 1, int)
        expected = to_labels(torch.cat([rows.clone() for _, rows in parts], dim=2))[0].numpy()
        assert np.array_equal(mask(folder / f"out/{number}.png"), expected) and len(np.unique(expected)) > 1


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "tile"])
def test_images_are_read_in_the_bands_of_the_model(tmp_path: Path, fit: Fit) -> None:
    (tmp_path / "in").mkdir()
    net = predictor(net=build_small_net(3, bands=2), fit=fit, **TWO_BANDS)
    image = np.random.default_rng(0).integers(0, 400, (30, 41, 2), np.uint16)
    np.save(tmp_path / "in/a.npy", image)
    tifffile.imwrite(tmp_path / "in/b.tif", image, planarconfig="contig")
    tifffile.imwrite(tmp_path / "in/c.tif", image[..., 0])
    Image.fromarray(draw_noise((30, 41, 3))).save(tmp_path / "in/d.png")
    outcome = run(tmp_path, net, PredictOptions(overlays=True, batch_size=1))
    for name in ("a", "b"):
        assert np.array_equal(mask(tmp_path / f"out/{name}.png"), predict_image(net, image))
        assert mask(tmp_path / f"out/{name}.overlay.jpg").shape == (30, 41, 3)
    assert [path.name for path, _ in outcome.failures] == ["c.tif", "d.png"]
    assert all(len(reason.splitlines()) == 1 for _, reason in outcome.failures) and outcome.images == 2


@pytest.mark.parametrize("options", [{}, {"probabilities": True}, {"scale": "original", "tile": 20}])
def test_large_images_give_the_same_files_without_being_decoded(
    tmp_path: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/a.tif", draw_noise((80, 41, 3)), tile=(16, 16))
    np.save(tmp_path / "in/b.npy", draw_noise((30, 90, 3)))
    net = predictor(fit="tile")
    run(tmp_path, net, PredictOptions(**options), "small")
    monkeypatch.setattr(loading, "MAX_BYTES_AHEAD", 1000)
    monkeypatch.setattr(loading, "read_image", None)
    monkeypatch.setattr(predicting, "LARGE_IMAGE_PIXELS", 1000)
    assert run(tmp_path, net, PredictOptions(**options), "large").images == 2
    small, large = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("small", "large"))
    assert small == large


def test_overlay_of_a_large_image_is_shrunk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "LARGE_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(predicting, "MAX_SHRUNK_SIDE_PX", 20)
    run(folder, predictor(), PredictOptions(overlays=True))
    for number, shape in ((0, (10, 17, 3)), (1, (16, 16, 3))):
        assert mask(folder / f"out/{number}.overlay.jpg").shape == shape


@pytest.mark.parametrize("probabilities", [True, False])
def test_large_image_that_breaks_off_is_reported_and_the_rest_is_done(
    folder: Path, probabilities: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ArrayWindows(draw_noise((70, 41, 3)))

    class Damaged:
        height, width, orientation = 70, 41, 1

        def read(self, top: int, left: int, height: int, width: int) -> Any:
            if top:
                raise UnusableFileError("truncated image", "tile 7")
            return whole.read(top, left, height, width)

    tifffile.imwrite(folder / "in/0a.tif", whole.array)
    monkeypatch.setattr(loading, "MAX_BYTES_AHEAD", whole.array.nbytes - 1)
    monkeypatch.setattr(loading, "open_image", lambda *_: Damaged())
    outcome = run(folder, predictor(fit="tile"), PredictOptions(probabilities=probabilities))
    assert [(path.name, reason) for path, reason in outcome.failures] == [("0a.tif", "truncated image: tile 7")]
    assert outcome.images == 7 and not list((folder / "out").glob("*0a*"))


def test_mask_of_a_geotiff_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = draw_noise((30, 41, 3))
    write_geotiff(tmp_path / "in/a.tif", image)
    net = predictor()
    assert run(tmp_path, net, PredictOptions(probabilities=True, batch_size=1)).images == 1
    with rasterio.open(tmp_path / "in/a.tif") as source, rasterio.open(tmp_path / "out/a.tif") as written:
        assert (written.crs, written.transform) == (source.crs, source.transform)
        assert np.array_equal(written.read(1), predict_image(net, image))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.probabilities.npy", "a.tif"]


def test_images_of_one_size_share_a_batch_of_no_more_pixels_than_given(folder: Path) -> None:
    sizes: list[tuple[int, ...]] = []

    class Recording(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(tuple(images.shape[:1] + images.shape[2:]))
            return images

    run(
        folder, predictor(net=Recording()), PredictOptions(scale="original", batch_size=12)
    )  # 12 x 16 x 16 = 3072 pixels
    assert sizes[1:] == [(1, 30, 50), (1, 16, 16), (1, 50, 30), (2, 30, 50), (1, 9, 12), (1, 40, 41)]
    sizes.clear()
    run(folder, predictor(net=Recording()), PredictOptions(scale="trained", batch_size=5))
    assert sizes == [(5, 16, 16), (2, 16, 16)]


def test_batches_and_threads_hold_no_more_pixels_than_memory_is_meant_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, predictor(), out="plenty")
    monkeypatch.setattr(loading, "MAX_BYTES_AHEAD", 1)
    monkeypatch.setattr(predicting, "MAX_BATCH_PIXELS", 2000)
    assert run(folder, predictor(), PredictOptions(overlays=True), out="little").images == 7
    for number in range(7):
        assert np.array_equal(mask(folder / f"plenty/{number}.png"), mask(folder / f"little/{number}.png"))


def test_bad_files_are_reported_in_order_and_the_rest_is_done(folder: Path) -> None:
    content = (folder / "in/0.png").read_bytes()
    (folder / "in/0a.png").write_bytes(content[: len(content) // 2])
    (folder / "in/2a.jpg").write_bytes(b"no image")
    (folder / "in/9.png").symlink_to("nowhere")
    outcome = run(folder, predictor(), PredictOptions(batch_size=2))
    assert [path.name for path, _ in outcome.failures] == ["0a.png", "2a.jpg", "9.png"]
    reasons = [reason for _, reason in outcome.failures]
    assert reasons[0].startswith("truncated image: ")
    assert reasons[1:] == [
        "unreadable image: unknown image format",
        "unreadable image: No such file or directory",
    ]
    assert outcome.images == 7 and len(list((folder / "out").iterdir())) == 7


@pytest.mark.parametrize("orientation", [3, 6])
def test_mask_has_the_shape_in_which_viewers_show_the_image(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "in").mkdir()
    image = Image.fromarray(draw_noise((20, 32, 3)))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "in/a.png", exif=exif)
    run(tmp_path, predictor(), PredictOptions(overlays=True))
    turned = read_image(tmp_path / "in/a.png").turn().pixels
    assert turned.shape == ((20, 32, 3) if orientation == 3 else (32, 20, 3))
    assert np.array_equal(mask(tmp_path / "out/a.png"), predict_image(predictor(), turned))
    assert mask(tmp_path / "out/a.overlay.jpg").shape == turned.shape


@pytest.mark.parametrize("scale", ["trained", "original"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_probabilities_are_of_all_classes_at_the_size_of_the_image(
    folder: Path, outputs: int, scale: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losslab.inference.tiling.MAX_LOGITS_AT_ONCE", 300)
    net = predictor(outputs)
    run(folder, net, PredictOptions(scale=scale, tile=20, overlap=0.5, probabilities=True))
    for number, (height, width) in enumerate(SIZES):
        saved = np.load(folder / f"out/{number}.probabilities.npy")
        assert saved.shape == (max(outputs, 2), height, width) and saved.dtype == np.float16
        image = read_image(folder / f"in/{number}.png").pixels
        seen = torch.tensor(fit_image(image, 16, "stretch") if scale == "trained" else image)
        logits = net.compute_logits(seen[None])
        logits = restore_size(logits, height, width, "stretch") if scale == "trained" else logits
        assert np.allclose(saved, to_probabilities(logits)[0].numpy(), atol=1e-3)


def test_threshold_moves_the_border_of_two_classes(folder: Path) -> None:
    net = predictor(1)
    for threshold in (0.3, 0.5, 0.7):
        run(folder, net, PredictOptions(scale="original", threshold=threshold), f"{threshold}")
        pixels = torch.tensor(read_image(folder / "in/0.png").pixels)
        probability = torch.sigmoid(net.compute_logits(pixels[None]))[0, 0].numpy()
        assert np.array_equal(mask(folder / f"{threshold}/0.png"), probability > threshold)
    assert (mask(folder / "0.3/0.png") != mask(folder / "0.7/0.png")).any()


def test_net_with_one_size_is_reported_before_any_work(folder: Path) -> None:
    line = r"--scale original: this net takes only images of 16 x 16: Input height \(17\) doesn't match"
    with pytest.raises(InputError, match=line):
        run(folder, predictor(net=OneSize()), PredictOptions(scale="original"))
    assert not (folder / "out").exists()
    assert run(folder, predictor(net=OneSize())).images == 7


def test_size_that_a_net_cannot_take_is_reported_with_the_file(folder: Path) -> None:
    class NotTooSmall(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] < 13:
                raise RuntimeError("Kernel size can't be greater than actual input size")
            return images

    outcome = run(folder, predictor(net=NotTooSmall()), PredictOptions(scale="original"))
    assert [(path.name, reason) for path, reason in outcome.failures] == [
        ("5.png", "this net cannot take images of 9 x 12: Kernel size can't be greater than actual input size")
    ]
    assert outcome.images == 6


def test_model_that_cannot_take_its_own_size_is_reported(folder: Path) -> None:
    with pytest.raises(InputError, match="this net cannot take images of 20 x 20: Input height"):
        run(folder, predictor(net=OneSize(), size=20))


@pytest.mark.parametrize("options", [PredictOptions(batch_size=1), PredictOptions(batch_size=1, probabilities=True)])
def test_interrupted_run_leaves_complete_files_only(folder: Path, options: PredictOptions) -> None:
    class Interrupted(nn.Module):
        seen = 0

        def forward(self, images: Tensor) -> Tensor:
            self.seen += 1
            if self.seen == 4:
                raise KeyboardInterrupt
            return images

    with pytest.raises(KeyboardInterrupt):
        run(folder, predictor(net=Interrupted()), options)
    written = sorted(path.name for path in (folder / "out").glob("*.png"))
    assert written == ["0.png", "1.png", "2.png"][: len(written)]
    assert all(mask(folder / "out" / name).shape == SIZES[number] for number, name in enumerate(written))
    assert not [path for path in (folder / "out").iterdir() if "partial" in path.name]


@pytest.mark.parametrize("probabilities", [True, False])
def test_name_that_is_too_long_for_a_mask_is_reported_and_the_rest_is_done(folder: Path, probabilities: bool) -> None:
    (folder / "in/0.png").rename(folder / f"in/{'x' * 250}.png")
    outcome = run(folder, predictor(), PredictOptions(probabilities=probabilities))
    assert outcome.images == 6 and outcome.failures[0][1].endswith("cannot write its outputs: File name too long")


def test_image_too_long_for_an_overlay_is_reported_and_the_rest_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losslab.prediction.outputs.MAX_JPEG_SIDE_PX", 30)
    outcome = run(folder, predictor(), PredictOptions(overlays=True))
    assert outcome.images + len(outcome.failures) == len(list((folder / "in").iterdir()))
    assert outcome.images and {reason.split(": ")[1] for _, reason in outcome.failures} == {
        "a JPEG has at most 30 pixels a side"
    }


def test_same_command_again_gives_the_same_bytes(folder: Path) -> None:
    before: dict[str, bytes] = {}
    for _ in range(2):
        run(folder, predictor(), PredictOptions(overlays=True))
        after = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
        assert len(after) == 14 and before in ({}, after)
        before = after
