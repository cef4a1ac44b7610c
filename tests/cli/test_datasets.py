import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from losslab.cards import read_card
from losslab.cli import app
from losslab.data.prepare.prepare import prepare
from losslab.formats import format_bytes
from losslab.params import PrepareParams, SplitParams
from tests.conftest import ROOT, TINY_CARD, write_params
from tests.data.annotations.scenes import describe_coco, draw_scenes, write_images, write_json


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_params(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(values: tuple[int, ...] = (0, 255), count: int = 4) -> list[str]:
    """Pairs in ./i and ./m; returns how to name these."""
    for number in range(count):
        mask = np.array([values] * 8, np.uint8)
        for folder, pixels in (("i", np.repeat(mask[..., None], 3, axis=2)), ("m", mask)):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(f"{folder}/p{number}.png")
    return ["--images", "i", "--masks", "m"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["datasets", *arguments])


def test_datasets_lists_each_on_a_line_of_its_own(root: Path) -> None:
    (root / "data/raw/tiny/fetched").mkdir(parents=True)
    (root / "data/prepared/tiny").mkdir(parents=True)
    done = run()
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in done.stdout.splitlines()[1:-1]]
    assert [row[0] for row in rows] == sorted(path.stem for path in (root / "data/catalog").iterdir())
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["oxford_pet"][1:] == ["7349", "811 MB", "pet, background, border", "CC BY-SA 4.0"]
    assert by_name["camvid"][3] == "11: sky, building, pole, road, pavement, tree, …"
    assert by_name["ph2"][2] == "?, by hand"
    assert by_name["tiny"][1:] == ["?", "drawn", "skin, lesion, hair", "CC0-1.0", "yes, prepared"]


def test_datasets_json_has_all_cards(root: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(run("--json").stdout)}
    assert listed["oxford_pet"]["bytes"] == 811092049 and len(listed["camvid"]["classes"]) == 11


def test_names_cannot_steer_the_terminal(root: Path) -> None:
    path = root / "data/catalog/camvid.yaml"
    card = yaml.safe_load(path.read_text(encoding="utf-8"))
    card |= {"title": "a\x1b[2J\n\x7f\x9b", "home": "https://me:hunter2@h/"}
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    table, listed = run().stdout, run("--json").stdout
    assert r"a\u001b[2J\n\u007f\u009b" in table and len(table.splitlines()) == len(list(path.parent.iterdir())) + 2
    assert not [letter for letter in table + listed if letter != "\n" and unicodedata.category(letter) == "Cc"]
    about = {entry["name"]: entry for entry in json.loads(listed)}["camvid"]
    assert about["title"] == card["title"] and "hunter2" not in listed


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_broken_card_is_listed_with_its_fault_beside_the_others(root: Path, arguments: list[str]) -> None:
    (root / "data/catalog/bad.yaml").write_text(yaml.safe_dump(TINY_CARD | {"colour": 1}), encoding="utf-8")
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("ERROR: data/catalog/bad.yaml: colour: unknown key; allowed here: title,")
    assert len(done.stderr.splitlines()) == 1
    assert "bad" in done.stdout and "oxford_pet" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["new", "cells", "--images", "i", "--masks", "m"]])
def test_outside_a_repository_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.output == "ERROR: data/catalog: no such folder; run from the root of the repository\n"


def test_new_prints_what_the_masks_hold_and_what_to_do_next(root: Path) -> None:
    done = run(
        "new", "cells", *draw((0, 0, 1, 255)), "--classes", "back, cell", "--title", "Mine", "--group", r"^(p\d)"
    )
    assert done.exit_code == 0, done.output
    size = sum(path.stat().st_size for folder in ("i", "m") for path in Path(folder).iterdir())
    assert done.stdout.splitlines() == [
        "4 images of 4x8, with masks named like the images",
        "  0: back, 50.0 % of all pixels",
        "  1: cell, 25.0 % of all pixels",
        "  255: void, 25.0 % of all pixels (by convention; --void none makes it a class)",
        "  in 4 groups",
        f"copied 8 files, {size} bytes, to data/raw/cells/own",
        "drew 4 images with their classes on .losslab/overlays/cells.png; look at it before you train",
        "wrote data/catalog/cells.yaml; check it, then run:",
        "  dvc add data/raw/cells/own",
        '  git add data/catalog/cells.yaml data/raw/cells/own.dvc && git commit -m "Add cells"',
        "  dvc exp run -S dataset=cells -S prepare.split.method=grouped",
    ]
    assert [line for line in done.stderr.splitlines() if "WARNING" in line] == []
    assert [row for row in run().stdout.splitlines() if row.startswith("cells") and " own " in row and " 4 " in row]


def warnings(done: Any) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line for line in done.stderr.splitlines() if line.startswith("WARNING")]


def test_new_warns_of_what_a_run_would_stop_at(root: Path) -> None:
    given = draw()
    for number in range(4):
        Path(f"i/alone{number}.png").write_bytes(b"")
    assert warnings(run("new", "a", *given)) == [
        "WARNING: images without a mask: 4 (alone0.png, alone1.png, alone2.png, …); not copied"
    ]
    Path("i/p0.png").write_bytes(b"")
    assert warnings(run("new", "b", *given))[1:] == [
        "WARNING: unreadable image: 1 (p0: empty file)",
        "WARNING: prepare will stop at these: fix them, or leave them out with -S prepare.audit=warn",
    ]
    own = Path("data/raw/c/own")
    own.mkdir(parents=True)
    for folder, name in (("i", "images"), ("m", "masks")):
        Path(folder).rename(own / name)
    (own / "images/p0.png").unlink()
    assert warnings(run("new", "c", "--images", f"{own}/images", "--masks", f"{own}/masks")) == [
        "WARNING: images without a mask: 4 (alone0.png, alone1.png, alone2.png, …)",
        "WARNING: masks without an image: 1 (p0.png)",
        "WARNING: prepare will stop at these: fix them, or leave them out with -S prepare.audit=warn",
    ]


def test_new_warns_of_data_too_few_to_split_and_of_shades(root: Path) -> None:
    done = run("new", "a", *draw(), "--group", "^(p)")
    assert warnings(done) == [
        "WARNING: 1 group cannot be split into train, val and test; a random split tears groups apart"
    ]
    assert done.stdout.splitlines()[-1].endswith("prepare.split.method=random")
    for path in Path("i").iterdir():
        if path.name != "p0.png":
            path.unlink()
    assert warnings(run("new", "b", *draw(tuple(range(40)), count=1)))[-2:] == [
        "WARNING: 40 classes: were the masks resized with smooth edges? They should hold one value per class",
        "WARNING: 1 image cannot be split into train, val and test; a run needs 3",
    ]


@pytest.mark.parametrize(
    ("void", "values"),
    [("none", []), ("255", [255]), ("9, 255", [9, 255])],
)
def test_new_takes_void_as_said(root: Path, void: str, values: list[int]) -> None:
    assert run("new", "cells", *draw((0, 9, 20, 30, 255)), "--void", void).exit_code == 0
    assert yaml.safe_load(Path("data/catalog/cells.yaml").read_text(encoding="utf-8"))["void"] == values


def test_new_takes_folders_of_splits_as_the_official_split(root: Path) -> None:
    draw((0, 1))
    for folder in ("i", "m"):
        for number, split in enumerate(("train", "train", "val", "test")):
            Path(folder, split).mkdir(exist_ok=True)
            Path(folder, f"p{number}.png").rename(Path(folder, split, f"x_{number}_{folder}.png"))
    done = run("new", "cells", "--images", "i", "--masks", "m", "--pair", r"_(\d)_")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("-S dataset=cells -S prepare.split.method=official")
    assert [row for row in run().stdout.splitlines() if row.startswith("cells") and " own " in row and " 4 " in row]


def test_new_looks_for_what_prepare_would_refuse(root: Path) -> None:
    given = draw((0, 1, 2, 9))
    Path("i/p0.png").write_bytes(b"no image")
    Image.fromarray(np.full((8, 4), 9, np.uint8)).save("m/p1.png")
    assert warnings(run("new", "cells", *given, "--void", "9")) == [
        "WARNING: unreadable image: 1 (p0: unknown image format)",
        "WARNING: masks of nothing but void: 1 (p1)",
        "WARNING: prepare will stop at these: fix them, or leave them out with -S prepare.audit=warn",
    ]
    Image.fromarray(np.full((8, 4), 0.5, np.float32)).save("m/p2.tif")
    Path("m/p2.png").unlink()
    assert run("new", "other", *given).stderr.splitlines()[-1] == (
        "ERROR: m/p2.tif: unreadable mask: holds fractions; save it in 8 or 16 bits"
    )


def test_new_refuses_as_prepare_does(root: Path) -> None:
    given = draw((0, 0, 1, 1), count=8)
    frames = [Image.fromarray(np.full((8, 4, 3), value, np.uint8)) for value in (1, 2)]
    for number in (0, 3, 4):
        Path(f"i/p{number}.png").unlink()
    frames[0].save("i/p0.tif", save_all=True, append_images=frames[1:])
    for name in ("p3.tif", "p4.png"):
        Path("i", name).write_bytes(Path("i/p7.png").read_bytes()[:50])
    told = warnings(run("new", "cells", *given))
    assert told[-1].startswith("WARNING: prepare will stop at these")
    raw, card = root / "data/raw/cells", read_card("cells", root / "data/catalog")
    split = SplitParams(method="random", val=0.3, test=0.3, seed=0, folds=5, fold=0)
    how = PrepareParams(size=32, fit="stretch", limit=None, audit="warn", split=split)
    refused = [one for one in prepare(card, raw, how, root / "out")["findings"] if one["severity"] == "error"]
    assert len(refused) == 3 and {one["kind"] for one in refused} >= {"several frames", "truncated image"}
    for one in refused:
        assert any(line.startswith(f"WARNING: {one['kind']}: ") and one["detail"] in line for line in told), one


def test_new_says_what_bands_the_card_has(root: Path) -> None:
    given = draw()
    for number in range(4):
        np.save(f"i/p{number}.npy", np.zeros((8, 2, 4), np.uint16))
        Path(f"i/p{number}.png").unlink()
    said = ("--bands", "red, green,blue,nir", "--scaling", "0-10000", "--shown", "nir,red,green")
    done = run("new", "cells", *given, *said)
    assert "  red, green, blue, nir: uint16, scaled by {range: [0, 10000]}" in done.stdout.splitlines(), done.output
    bands = read_card("cells", root / "data/catalog").bands
    assert bands is not None and bands.format.shown == [3, 0, 1]
    done = run("new", "other", *given, "--scaling", "0.1..99.9")
    assert done.stderr.splitlines()[-1].startswith("ERROR: --scaling: '0.1..99.9' is none of: percentiles such as")


def test_new_works_from_a_folder_below_the_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".dvc").mkdir()
    below = root / "mine/deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    done = run("new", "cells", *draw())
    assert done.exit_code == 0, done.output
    assert f"wrote data/catalog/cells.yaml; check it, then run in {root}:" in done.stdout
    assert sorted(path.name for path in below.iterdir()) == ["i", "m"]
    assert len(list((root / "data/raw/cells/own/images").iterdir())) == 4
    monkeypatch.chdir(below)
    assert "cells" in run().stdout


def test_new_says_whose_names_the_classes_have(root: Path) -> None:
    given = draw((0, 1))
    Path("m/classes.txt").write_text("skin\nmole\n", encoding="utf-8")
    assert run("new", "a", *given).stdout.splitlines()[1:4] == [
        "  0: skin, 50.0 % of all pixels",
        "  1: mole, 50.0 % of all pixels",
        "  with the names in m/classes.txt",
    ]
    Path("m/classes.txt").write_text("skin\n", encoding="utf-8")
    assert warnings(run("new", "b", *given)) == [
        "WARNING: m/classes.txt: its names do not fit the values of the masks; give names with --classes"
    ]


def test_new_makes_one_class_of_all_objects(root: Path) -> None:
    done = run("new", "cells", *draw((0, 0, 7, 255)), "--foreground", "nonzero", "--classes", "back,cell")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:3] == [
        "  0: back, 50.0 % of all pixels",
        "  nonzero: cell, 50.0 % of all pixels",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ("0-127,128-255", ["0-127: back, 50.0 %", "128-255: cell, 50.0 %"]),
        ("0 + 200, 90+255", ["0+200: back, 50.0 %", "90+255: cell, 50.0 %"]),
        ("#000000,#5a5a5a+#c8c8c8+#FFFFFF", ["#000000: back, 25.0 %", "#5a5a5a+#c8c8c8+#ffffff: cell, 75.0 %"]),
    ],
)
def test_new_takes_the_values_of_each_class(root: Path, values: str, shown: list[str]) -> None:
    done = run("new", "cells", *draw((0, 90, 200, 255)), "--values", values, "--classes", "back,cell")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:3] == [f"  {line} of all pixels" for line in shown]


def test_new_says_that_palettes_made_it_read_colours(root: Path) -> None:
    given = draw((0, 1))
    for path, colour in zip(sorted(Path("m").iterdir()), (200, 200, 90, 200), strict=True):
        mask = Image.open(path)
        mask.putpalette([0, 0, 0, colour, 0, 0])
        mask.save(path)
    assert warnings(run("new", "cells", *given)) == [
        "WARNING: masks were read in colours, as their palettes differ: 1 is [90, 0, 0], but [200, 0, 0] in p0.png"
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--void", "x"],
            "ERROR: --void: 'x' is not a mask value; give a number up to 65535, a range such as 128-255, a colour such as #",
        ),
        (
            ["--values", "0,1-x"],
            "ERROR: --values: '1-x' is not a mask value; give a number up to 65535, a range such as 128-255, a col",
        ),
        (["--values", "0,5-1"], "ERROR: --values: '5-1' is not a mask value"),
        (["--values", "0,"], "ERROR: --values: '' is not a mask value"),
        (["--values", "0,7"], "ERROR: m/p0.png: holds 255, which neither --values nor --void names"),
        (["--void", "70000"], "ERROR: --void: '70000' is not a mask value"),
        (["--void", "#e0e0c0"], "ERROR: --void: #e0e0c0 does not fit the masks, which hold numbers"),
        (
            ["--classes", "a,b,c"],
            "ERROR: --classes gives 3 names (a, b, c), but the masks hold 2 values (share of pixels)",
        ),
        (["--images", "nowhere"], "ERROR: --images: nowhere does not exist"),
    ],
)
def test_new_tells_what_is_wrong_in_one_line(root: Path, arguments: list[str], complaint: str) -> None:
    done = run("new", "cells", *draw(), *arguments)
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(complaint)
    assert not Path("data/raw").exists()


def test_full_disk_ends_with_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device", "data/raw/cells/x.png")

    monkeypatch.setattr("shutil.copyfile", fail)
    done = run("new", "cells", *draw())
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "ERROR: data/raw/cells/x.png: No space left on device"


def test_listing_needs_neither_torch_nor_opencv() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from losslab.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "assert not {'yaml', 'pydantic', 'dvc'} & set(sys.modules); "
        "assert CliRunner().invoke(app, ['datasets']).exit_code == 0; "
        "sys.exit(', '.join({'torch', 'cv2', 'numpy', 'PIL'} & set(sys.modules)) or None)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_letters_that_the_terminal_lacks_are_escaped(root: Path, encoding: str) -> None:
    write_card = (root / "data/catalog/own.yaml").write_text
    write_card(yaml.safe_dump(TINY_CARD | {"title": "Zürich → 東京"}, allow_unicode=True), encoding="utf-8")
    runner = CliRunner(charset=encoding)
    done = runner.invoke(app, ["datasets"])
    assert done.exit_code == 0, done.exception
    assert "rich \\u2192 \\u6771\\u4eac" in done.stdout and "tree, \\u2026" in done.stdout
    titles = [entry["title"] for entry in json.loads(runner.invoke(app, ["datasets", "--json"]).stdout)]
    assert "Zürich → 東京" in titles


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (811092049, "811 MB"),
        (999_900_000, "1.0 GB"),
        (5e12, "5000 GB"),
    ],
)
def test_bytes_are_counted_as_in_browsers(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_new_draws_masks_from_annotations_and_says_how(root: Path) -> None:
    scenes = draw_scenes()
    content = describe_coco(scenes)
    content["images"].append(content["images"][0] | {"id": 99, "file_name": "gone.png"})
    write_images(Path("i"), scenes)
    write_json(Path("coco.json"), content)
    given = ("new", "cells", "--images", "i", "--annotations", "coco.json")
    done = run(*given, "--classes", "cell,other=vessel", "--void", "rest")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "4 images of 40x30, with masks drawn from 20 shapes of coco",
        "  where shapes overlap, the later annotation lies on top",
    ]
    assert [line.partition(",")[0] for line in lines[2:6]] == [
        "  0: background",
        "  1: cell",
        "  2: other",
        "  3: void",
    ]
    assert "drew 4 images with their classes on .losslab/overlays/cells.png; look at it before you train" in lines
    assert "WARNING: annotated, but not in the folder of images: 1 (gone.png)" in warnings(done)
    with Image.open(".losslab/overlays/cells.png") as sheet:
        assert sheet.width > 600
    given = ("new", "more", *given[2:])
    for arguments, wrong in (
        ((*given, "--classes", "cell"), "--classes lacks vessel and dirt"),
        ((*given[:4], "--masks", "i", *given[4:]), "give --masks or --annotations, one of the two"),
        (given[:4], "give --masks or --annotations, one of the two"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1 and wrong in done.stderr and len(done.stderr.splitlines()) == 1


def test_new_names_a_loss_that_overlapping_classes_can_be_trained_with(root: Path) -> None:
    draw()
    for label in ("cell", "nucleus"):
        shutil.copytree("m", f"masks/{label}")
    done = run("new", "cells", "--images", "i", "--masks", "masks", "--overlapping")
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last == "  dvc exp run -S dataset=cells -S prepare.split.method=random -S loss=bce+dice"
