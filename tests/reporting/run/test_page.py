import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from losslab.io.files import read_csv, read_json, write_csv, write_json
from losslab.reporting.run.inputs import read_report_inputs
from losslab.reporting.run.page import build_run_page, write_report
from tests.reporting.run.made_up import MadeUp, write_outs

FIGURES = {"curves.png", "confusion.png", "iou_by_class.png", "iou_by_image.png", "reliability.png", "examples.png"}


@pytest.fixture
def outs(tmp_path: Path) -> Path:
    return write_outs(tmp_path)


def render_report(outs: Path, examples: int = 6) -> str:
    return build_run_page(read_report_inputs(outs / "models", outs / "reports", outs / "prepared"), examples)


def write_files(outs: Path) -> dict[str, bytes]:
    write_report(outs / "models", outs / "reports", outs / "prepared", 6)
    figures = {path.name: path.read_bytes() for path in (outs / "reports/figures").iterdir()}
    return figures | {"report.html": (outs / "reports/report.html").read_bytes()}


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_page_needs_no_other_file(outs: Path) -> None:
    page = render_report(outs)
    parser = Links()
    parser.feed(page)
    assert parser.links and all(link.startswith(("data:", "#")) for link in parser.links)
    assert (
        set(re.findall(r"url\(([^)]{5})", page)) == {"data:"}
        and "@import" not in page
        and "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    )


def test_page_shows_what_was_run_and_how_well(outs: Path) -> None:
    page = render_report(outs)
    for text in (
        "(gamma = 3.0)",
        "resnet18",
        "abc.dir",
        "Roads &amp; &lt;b&gt;seas",
        "rise = 0.15",
        "the weights are those of epoch 5",
    ):
        assert text in page, text
    assert "On 40 test images the net reaches a mean IoU of 0.750" in page
    assert "What limits it: the weakest class is tree &lt;b&gt; (IoU 0.620); 68.0 % of the wrong pixels lie" in page
    assert "device" not in page.split('id="run"')[1].split("</section>")[0]


def test_page_shows_the_net_and_how_it_was_scored(outs: Path) -> None:
    page = render_report(outs)
    assert "14,328,209" in page
    assert "lite0.safetensors, sha256 0123456789ab…" in page and "/home/me" not in page
    assert "the original size, mean over flipped images" in page


@pytest.mark.parametrize(
    "evil", ["</script><script>alert(1)</script>", "a\"b'c", "{x} {{ y }} {% z %}", "$\\frac$ 100 %"]
)
def test_names_are_text_and_nothing_else(tmp_path: Path, evil: str) -> None:
    outs = write_outs(tmp_path, MadeUp(classes=(evil, "road", "sky")))
    examples = read_csv(outs / "reports/predictions/examples.csv")
    write_csv(outs / "reports/predictions/examples.csv", [row | {"image": evil} for row in examples])
    page = render_report(outs)
    assert page.count("<script") == 1 and page.count("</script") == 1
    assert not re.search(r'data-name="a"', page)
    assert all(group in page for group in ("Best", "Median", "Worst", "Random"))


def test_each_group_of_examples_is_shown(outs: Path) -> None:
    page = render_report(outs, examples=8)
    groups = dict(re.findall(r"<h3>(Best|Median|Worst|Random)</h3>(.*?)(?=<h3>|<dialog)", page, re.DOTALL))
    assert {name: re.findall(r'data-name="(\w+)"', part) for name, part in groups.items()} == {
        "Best": ["im1", "im2"],
        "Median": ["im20", "im21"],
        "Worst": ["im40", "im39"],
        "Random": ["im7", "im8"],
    }


def test_same_input_gives_the_same_bytes(outs: Path) -> None:
    files = write_files(outs)
    assert set(files) == FIGURES | {"report.html"}
    assert write_files(outs) == files


def test_page_without_examples_says_so(outs: Path) -> None:
    assert "No predictions to show" in render_report(outs, examples=0)
    write_csv(outs / "reports/predictions/examples.csv", [])
    assert "No predictions to show" in render_report(outs)


def test_page_of_the_poorest_run_is_complete(tmp_path: Path) -> None:
    """One epoch, one image, one term, no void, no example, no row in any table about confidence and errors."""
    run = MadeUp(("background", "pet"), epochs=1, images=1, examples=0, ignore_index=None, terms=("focal",), rich=False)
    files = write_files(write_outs(tmp_path, run))
    page = files["report.html"].decode()
    assert set(files) == FIGURES - {"examples.png"} | {"report.html"}
    assert page.endswith("</html>") and "nan" not in page.split("<script>")[0].split("</style>")[1].lower()
    assert "stage wrote no calibration" in page and "stage wrote no strata" in page and "void (not scored)" not in page
    assert "training ended while" not in page and "1 image." in page
    assert re.search(r"Not checked: .*best epoch before the last \(fewer than two epochs\)", page)
    assert "<li>best epoch before the last</li>" not in page


def test_scores_that_mean_nothing_are_dashes(outs: Path) -> None:
    """A class in neither truth nor prediction, in per_class.csv, scores.json and the curves."""
    reports = outs / "reports"
    gone = dict.fromkeys(("iou", "dice", "precision", "recall", "boundary_iou", "surface_dice_1", "hd95"), "")
    per_class = [
        row | (gone | {"support": "0", "predicted": "0"} if row["class"] == "road" else {})
        for row in read_csv(reports / "per_class.csv")
    ]
    write_csv(reports / "per_class.csv", per_class)
    write_csv(reports / "history.csv", [row | {"val_iou_road": ""} for row in read_csv(reports / "history.csv")])
    confusion = [
        {
            key: "0" if "road" in (key, row["truth"]) and key not in ("split", "truth") else cell
            for key, cell in row.items()
        }
        for row in read_csv(reports / "confusion.csv")
    ]
    write_csv(reports / "confusion.csv", confusion)
    metrics = read_json(reports / "scores.json")
    metrics["test"] |= {"hd95": None}
    write_json(reports / "scores.json", metrics)
    page = render_report(outs)
    assert "In neither truth nor prediction, so in no mean: road." in page
    assert "HD95, px</span>" not in page and 'class="value none"' in page


def test_binary_scores_are_headlines(tmp_path: Path) -> None:
    outs = write_outs(tmp_path, MadeUp(("background", "pet")))
    metrics = read_json(outs / "reports/scores.json")
    metrics["test"] |= {"seed_score": 0.61, "threshold": 0.4, "miou_at_threshold": 0.7654}
    write_json(outs / "reports/scores.json", metrics)
    page = render_report(outs)
    assert "seed score" in page and "0.610" in page and "0.765" in page and "best on val: 0.4" in page


def test_metrics_of_plug_ins_are_headlines_and_columns(outs: Path) -> None:
    evaluation, metrics = (read_json(outs / f"reports/{name}.json") for name in ("evaluation", "scores"))
    about = {"higher_is_better": False, "unit": "objects", "of": "images", "title": "miscounted"}
    facts = {"missed": about, "found": {**about, "unit": "points", "of": "classes", "title": "found objects"}}
    write_json(outs / "reports/evaluation.json", {**evaluation, "metrics": {}, "metric_facts": facts})
    write_json(
        outs / "reports/scores.json",
        {split: {**scores, "missed": 1.25, "found": 0.8125} for split, scores in metrics.items()},
    )
    rows = read_csv(outs / "reports/per_class.csv")
    write_csv(outs / "reports/per_class.csv", [{**row, "found": "0.4321"} for row in rows])
    page = " ".join(re.sub("<[^>]+>", " ", render_report(outs)).split())
    assert "miscounted, objects 1.2 val 1.2 mean over images; lower is better" in page
    assert "found objects 0.812 val 0.812 mean over classes, over all pixels; lower is better" in page
    assert "0.432" in page


def test_crops_are_described_with_what_they_held(outs: Path) -> None:
    model, history = read_json(outs / "models/model.json"), read_csv(outs / "reports/history.csv")
    model["run"]["train"] |= {"crop": 32, "sampling": "balanced"}
    write_json(outs / "models/model.json", model)
    shares = {f"crops_{name}": "0.25" for name in model["classes"]}
    write_csv(outs / "reports/history.csv", [{**row, **shares} for row in history])
    page = " ".join(re.sub("<[^>]+>", " ", render_report(outs)).split())
    assert re.search("trained on crops of 32 × 32 pixels, balanced, which held .* in 25.0 %", page)


def test_bands_tiles_and_an_adapted_first_layer_are_described(tmp_path: Path) -> None:
    outs = write_outs(tmp_path, MadeUp(near_duplicates=8))
    ends = {"low": [0.0, 12.5], "high": [1.0, 4000.0], "clip": True}
    bands = {"names": ["nir", "swir"], "dtype": "float32", "shown": [1, 1, 0], **ends}
    model, dataset = read_json(outs / "models/model.json"), read_json(outs / "prepared/dataset.json")
    write_json(outs / "models/model.json", model | {"bands": bands, "fit": "tile", "first_layer": "repeated, it is"})
    write_json(outs / "prepared/dataset.json", dataset | {"bands": bands, "fit": "tile"})
    names = [{"split": split, "height": 40 + n, "width": 30} for split in ("train", "test") for n in range(8)]
    write_csv(outs / "prepared/index.csv", names)
    for split in ("train", "test"):
        np.save(outs / f"prepared/{split}/images.npy", np.zeros((sum(range(40, 48)) * 30, 2), np.float32))
    page = " ".join(re.sub("<[^>]+>", " ", render_report(outs)).split())
    assert "2 of float32: nir 0 to 1, swir 12.5 to 4000; values beyond are clipped" in page
    assert "first layer repeated, it is" in page and ", tiles blended" in page
    assert "that of the files, shown in tiles of" in page and "test/im0, correlation" in page


def test_largest_gallery_stays_under_five_megabytes(tmp_path: Path) -> None:
    """24 noisy examples of 1024 px in 11 classes: pictures shrink until all fit."""
    run = MadeUp(tuple(f"class {index}" for index in range(11)), side=1024, examples=1, detail=8, near_duplicates=8)
    folder = write_outs(tmp_path, run) / "reports/predictions"
    (row,) = read_csv(folder / "examples.csv")
    for index in range(24):
        for kind in ("image", "truth", "prediction"):
            (folder / f"copy-{index}.{kind}.png").hardlink_to(folder / f"test-0.{kind}.png")
    write_csv(folder / "examples.csv", [row | {"file": f"copy-{index}"} for index in range(24)])
    page = render_report(tmp_path, examples=24)
    assert 1_000_000 < len(page.encode()) < 5_000_000 and page.count('class="example"') == 24


def test_page_of_many_classes_shows_the_weakest(tmp_path: Path) -> None:
    page = render_report(
        write_outs(tmp_path, MadeUp(tuple(f"class {index}" for index in range(50)), epochs=2, examples=0))
    )
    assert "21 other classes" in page and "20 of 50 classes" in page and len(page.encode()) < 5_000_000
    assert "class 49 against the rest" in page and "class 19 against the rest" not in page


def test_data_and_findings_of_the_audit_are_shown(tmp_path: Path) -> None:
    page = render_report(write_outs(tmp_path, MadeUp(near_duplicates=8, findings=9, ignore_index=None)))
    assert (
        "split: kfold, split seed: 3, val: 0.2, test: 0.2, fold: 1 of 5, fit: stretch, audit: warn, limit: 60" in page
    )
    assert "train, 1,234 images" in page and ">void</th>" not in page
    assert "9 × hidden file" in page and "images/._0&lt;b&gt;; images/._1&lt;b&gt;; images/._2&lt;b&gt;; …" in page
    assert "6 of 8 pairs, the most similar first" in page and page.count("and test/im0, correlation 0.990") == 6


def test_data_without_a_finding_are_called_so(outs: Path) -> None:
    page = render_report(outs)
    assert "The audit found nothing wrong." in page and "Similar images" not in page
    assert "Nothing in the numbers gives a reason to doubt that" in page


def test_page_shows_what_the_truth_itself_scores_only_where_images_were_resized(outs: Path) -> None:
    audit = read_json(outs / "prepared/audit.json")
    write_json(outs / "prepared/audit.json", audit | {"ceiling": dict.fromkeys(audit["ceiling"], 0.4321)})
    page = render_report(outs)
    assert page.count('<td class="value">0.432</td>') == len(audit["ceiling"])
    assert "once resized to 128 pixels" in page
    del audit["ceiling"]
    write_json(outs / "prepared/audit.json", audit)
    assert "IoU of the truth" not in render_report(outs)


@pytest.mark.parametrize(
    ("average", "judges", "said"),
    [
        (
            "probabilities",
            [1, 1],
            "the ensemble of 2 nets, the mean of their probabilities: a (seed 0) and b (seed 1). None was trained on a test image. "
            "Val here is the 40 images outside test, each predicted by the one net that had not trained on it",
        ),
        (
            "weights",
            [2, 2],
            "None was trained on a test image, nor on one of the 40 of val. The nets began with different random weights",
        ),
    ],
)
def test_page_of_an_ensemble_says_whose_scores_these_are(
    outs: Path, average: str, judges: list[int], said: str
) -> None:
    evaluation = read_json(outs / "reports/evaluation.json")
    members = [{"run": name, "settings": {"seed": seed}} for seed, name in enumerate("ab")]
    facts = {"members": members, "common_start": "none", "val": {"images": 40, "members": judges}}
    about = {"ensemble": {"average": average, "members": members}, "ensemble_facts": facts}
    write_json(outs / "reports/evaluation.json", evaluation | about)
    page = " ".join(html.unescape(re.sub("<[^>]+>", " ", render_report(outs))).split())
    assert said in page and "The training below is that of this run's own net." in page
    name = "ensemble of 2 nets" if average == "probabilities" else "soup of 2 nets"
    assert f"the {name} reaches a mean IoU" in page and f"{name[0].upper()}{name[1:]}: " in page
