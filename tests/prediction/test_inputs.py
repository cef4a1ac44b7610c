"""The images that paths name, where their masks go, and what is refused before any work."""

from pathlib import Path

import pytest
from PIL import Image

from losslab.errors import InputError
from losslab.prediction.inputs import check_outputs, find_jobs, find_lost_georeferences
from losslab.prediction.outputs import save_geotiff_mask, save_mask
from tests.prediction.nets import draw_noise, write_geotiff


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def masks(*paths: str, out: str = "out") -> dict[str, str]:
    return {str(job.image): str(job.locate_mask(Path(out))) for job in find_jobs(paths, Path(out))}


def test_folder_keeps_its_structure_and_junk_is_passed_over() -> None:
    put("in/b.JPG", "in/sub/a.b.tif", "in/a.mat", "in/._b.jpg", "in/.hidden/c.png", "in/notes.txt")
    Path("in/d.png").mkdir()
    assert masks("in") == {"in/b.JPG": "out/b.png", "in/sub/a.b.tif": "out/sub/a.b.png"}


def test_file_goes_directly_into_the_folder_whatever_its_suffix() -> None:
    put("in/sub/a.jpg", "in/b.dat", "in/a[1].png")
    assert list(masks("in/sub/a.jpg", "in/b.dat", "in/a[1].png").values()) == ["out/a.png", "out/b.png", "out/a[1].png"]


@pytest.mark.parametrize("pattern", ["in/**/*.jpg", "in/**", "in/*/images/*.j*", "in/*"])
def test_pattern_keeps_the_structure_below_its_first_wildcard(pattern: str) -> None:
    put("in/x/images/1.jpg", "in/y/images/1.jpg", "in/y/images/.2.jpg", "in/y/images/1.mat")
    assert masks(pattern) == {
        "in/x/images/1.jpg": "out/x/images/1.png",
        "in/y/images/1.jpg": "out/y/images/1.png",
    }


def test_image_that_is_named_twice_is_predicted_once() -> None:
    put("in/a.jpg", "in/b.jpg")
    assert masks("in", "in/a.jpg", "in/../in/*.jpg") == {"in/a.jpg": "out/a.png", "in/b.jpg": "out/b.png"}


def test_links_are_followed_and_loops_end() -> None:
    put("elsewhere/a.jpg", "in/b.jpg")
    Path("in/link").symlink_to(Path("elsewhere").resolve())
    Path("elsewhere/back").symlink_to(Path("in").resolve())
    Path("in/gone.png").symlink_to("nowhere")
    assert masks("in") == {
        "in/b.jpg": "out/b.png",
        "in/gone.png": "out/gone.png",
        "in/link/a.jpg": "out/link/a.png",
    }


def test_outputs_below_the_input_are_not_taken_for_inputs() -> None:
    put("in/a.jpg", "in/out/a.png", "in/out/sub/b.png")
    assert masks("in", out="in/out") == {"in/a.jpg": "in/out/a.png"}
    assert masks("in/**/*", out="in/out") == {"in/a.jpg": "in/out/a.png"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "gone: no such file or folder"),
        ("in/*.png", "in/\\*.png: no images match this pattern; images end in .bmp, "),
        ("empty", "empty: no images in this folder; images end in "),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
        ("", "PATH is empty"),
    ],
)
def test_path_without_images_is_reported(path: str, message: str) -> None:
    put("in/a.jpg", "empty/a.txt")
    with pytest.raises(InputError, match=message):
        masks("in", path)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("a/1.jpg", "b/1.png"), "a/1.jpg and b/1.png would both become out/1.png; "),
        (("a", "b"), "a/1.jpg and b/1.png would both become out/1.png; "),
        (("c",), "c/2.jpg and c/2.png would both become out/2.png; "),
        (("d",), "out/3.png would be both the mask of d/3.jpg and a folder for other masks; "),
    ],
)
def test_two_images_with_one_mask_are_reported(paths: tuple[str, ...], message: str) -> None:
    put("a/1.jpg", "b/1.png", "c/2.jpg", "c/2.png", "d/3.jpg", "d/3.png/4.jpg")
    with pytest.raises(InputError, match=message):
        masks(*paths)


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("in", "in"),
        ("in", "in/sub/.."),
        ("in/a.jpg", "in"),
        ("in/*.jpg", "in"),
        ("in", "link"),
        ("link", "in"),
        ("links", "in"),
        ("up/in", "up"),
        (".", "in/.."),
    ],
)
def test_masks_beside_inputs_are_refused(path: str, out: str) -> None:
    put("in/a.jpg", "in/sub/b.jpg", "links/x", "up/in/c.jpg", "up/in/in/d.jpg")
    Path("link").symlink_to("in")
    Path("links/e.jpg").symlink_to(Path("in/a.jpg").resolve())
    with pytest.raises(InputError, match=r"would lie beside the input|no images"):
        masks(path, out=out)


def test_folder_for_masks_that_is_a_file_is_reported() -> None:
    put("a.jpg", "out")
    with pytest.raises(InputError, match="out is a file; -o takes a folder"):
        masks("a.jpg")


def test_masks_of_an_earlier_run_are_replaced_and_nothing_else_is() -> None:
    put("in/a.jpg", "in/b.jpg", "in/c.jpg")
    jobs = find_jobs(["in"], Path("out"))
    save_mask(draw_noise((4, 5)), [[0, 0, 0]], Path("out/a.png"))
    put("out/a.overlay.jpg", "out/note.txt")
    check_outputs(jobs, Path("out"), overwrite=False)
    Image.fromarray(draw_noise((4, 5, 3))).save("out/b.png")
    put("out/c.probabilities.npy")
    with pytest.raises(
        InputError, match=r"out/b\.png and out/c.probabilities.npy: not written by losslab predict; .*--overwrite"
    ):
        check_outputs(jobs, Path("out"), overwrite=False)
    check_outputs(jobs, Path("out"), overwrite=True)


def test_probabilities_of_an_earlier_prediction_are_no_images() -> None:
    put("in/a.npy", "in/a.probabilities.npy")
    assert masks("in", "in/*.npy") == {"in/a.npy": "out/a.png"}


@pytest.mark.parametrize("is_installed", [True, False])
def test_mask_of_a_geotiff_is_a_geotiff_where_rasterio_is_installed(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losslab.prediction.inputs.is_rasterio_installed", lambda: is_installed)
    put("in/damaged.tif")
    write_geotiff(Path("in/a.TIF"), draw_noise((4, 5, 3)))
    Image.fromarray(draw_noise((4, 5, 3))).save("in/plain.tif")
    assert masks("in") == {
        "in/a.TIF": "out/a.tif" if is_installed else "out/a.png",
        "in/damaged.tif": "out/damaged.png",
        "in/plain.tif": "out/plain.png",
    }
    assert find_lost_georeferences(find_jobs(["in"], Path("out"))) == ([] if is_installed else ["in/a.TIF"])


@pytest.mark.parametrize("is_installed", [True, False])
def test_geotiff_masks_of_an_earlier_run_are_replaced_and_nothing_else_is(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where rasterio was installed, or removed, since that run."""
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        write_geotiff(Path(f"in/{name}.tif"), draw_noise((4, 5, 3)))
        put(f"out/{name}.overlay.jpg")
    save_geotiff_mask(draw_noise((4, 5)), [[0, 0, 0]], Path("in/a.tif"), Path("out/a.tif"))
    save_mask(draw_noise((4, 5)), [[0, 0, 0]], Path("out/b.png"))
    put("out/c.png")
    write_geotiff(Path("out/c.tif"), draw_noise((4, 5, 3)))
    monkeypatch.setattr("losslab.prediction.inputs.is_rasterio_installed", lambda: is_installed)
    first = "out/c.tif" if is_installed else "out/c.png"
    with pytest.raises(InputError, match=f"^{first}: not written by losslab predict"):
        check_outputs(find_jobs(["in"], Path("out")), Path("out"), overwrite=False)


def test_own_mask_is_known_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    put("in/a.jpg")
    save_mask(draw_noise((40, 50)), [[0, 0, 0]], Path("out/a.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    check_outputs(find_jobs(["in"], Path("out")), Path("out"), overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
def test_folder_is_never_replaced(overwrite: bool) -> None:
    put("in/a.jpg", "out/a.png/precious.txt")
    with pytest.raises(InputError, match=r"out/a.png is a folder, but a file must be written there"):
        check_outputs(find_jobs(["in"], Path("out")), Path("out"), overwrite)
