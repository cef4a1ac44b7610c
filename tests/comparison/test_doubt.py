"""`losslab doubt`: the probability that a paper's order would be another, and what is said of a wrong table."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.doubt import build_reliability, draw_papers, measure_spread, report
from losslab.cli import app
from losslab.comparison.doubt import KINDS, MEASURED, TAIL_DEGREES, Method, Spread, doubt_pair, find_spread
from losslab.comparison.paper_table import read_paper_table
from losslab.errors import InputError
from losslab.io.files import write_csv

SPREAD = Spread(image_sd=0.1, correlation=0.6, seed_sd=0.01)
YAML = """
images: 50
rows:
  - {method: unet, mean: 0.86, sd: 0.09}
  - {method: segnet, mean: 0.84, se: 0.014, seeds: 3}
  - {method: fcn, mean: 0.70, seed_sd: 0.02}
"""


def make_cells(
    rng: np.random.Generator, means: Sequence[float], images: int, seeds: int
) -> dict[str, list[np.ndarray]]:
    """Make up scores with the spread above."""
    shared = rng.normal(0, SPREAD.image_sd * SPREAD.correlation**0.5, images)
    own_sd = SPREAD.image_sd * (1 - SPREAD.correlation) ** 0.5
    return {
        f"cell {number}": [
            mean + shared + rng.normal(0, SPREAD.seed_sd) + rng.normal(0, own_sd, images) for _ in range(seeds)
        ]
        for number, mean in enumerate(means)
    }


def test_reversal_is_how_often_a_replication_has_the_other_order() -> None:
    """If all true differences are as likely, the stated probability is right on average, whatever the methods' own spread."""
    rng = np.random.default_rng(0)
    true = rng.uniform(-0.3, 0.3, 40_000)
    error = doubt_pair(Method(name="a", mean=0.5), Method(name="b", mean=0.5), 50, SPREAD).error
    own = error * np.sqrt(TAIL_DEGREES / rng.chisquare(TAIL_DEGREES, true.shape))
    seen, again = (true + rng.normal(0, own, true.shape) for _ in range(2))
    pairs = [doubt_pair(Method(name="a", mean=0.5 + gap), Method(name="b", mean=0.5), 50, SPREAD) for gap in seen]
    near = np.array([0.1 < pair.reversal < 0.3 for pair in pairs])
    others, wrong = (np.sign(each[near]) != np.sign(seen[near]) for each in (again, true))
    assert np.mean(others) == pytest.approx(
        np.mean([p.reversal for p, n in zip(pairs, near, strict=True) if n]), abs=0.02
    )
    assert np.mean(wrong) == pytest.approx(np.mean([p.wrong for p, n in zip(pairs, near, strict=True) if n]), abs=0.02)


def test_reversal_is_right_too_where_true_differences_are_small() -> None:
    rng, spread = np.random.default_rng(0), replace(SPREAD, true_sd=0.02)
    error = doubt_pair(Method(name="a", mean=0.5), Method(name="b", mean=0.5), 50, spread).error
    true = rng.normal(0, 0.02, 40_000)
    seen, again = (true + rng.normal(0, error, true.shape) for _ in range(2))
    stated = [
        doubt_pair(Method(name="a", mean=0.5 + gap), Method(name="b", mean=0.5), 50, spread).reversal for gap in seen
    ]
    assert np.mean(np.sign(again) != np.sign(seen)) == pytest.approx(np.mean(stated), abs=0.03)


def test_more_images_and_seeds_leave_less_doubt() -> None:
    def compute(images: int, seeds: int) -> float:
        one, other = (Method(name=name, mean=mean, seeds=seeds) for name, mean in (("a", 0.8), ("b", 0.81)))
        return doubt_pair(one, other, images, SPREAD).reversal

    assert compute(20, 1) > compute(200, 1) > compute(200, 5)


def test_equal_means_are_a_coin_toss_and_no_spread_is_no_doubt() -> None:
    one, equal, worse = (Method(name=name, mean=mean) for name, mean in (("a", 0.8), ("b", 0.8), ("c", 0.7)))
    nothing = Spread(0.0, 0.5, 0.0)
    assert doubt_pair(one, equal, 50, SPREAD).reversal == doubt_pair(one, equal, 50, nothing).reversal == 0.5
    assert doubt_pair(one, worse, 50, nothing).reversal == 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_data_has_a_measured_spread(kind: str) -> None:
    for metric in MEASURED:
        spread = find_spread(metric, kind)
        assert 0 < spread.seed_sd < spread.difference_sd and 0 < spread.correlation < 1


def test_spread_is_measured_as_it_was_made() -> None:
    spread = measure_spread(make_cells(np.random.default_rng(0), [0.8] * 10, 2000, 20))
    assert spread.image_sd == pytest.approx(0.1, rel=0.05)
    assert spread.correlation == pytest.approx(0.6, abs=0.03)
    assert spread.seed_sd == pytest.approx(0.01, rel=0.15)


def test_reliability_table_counts_every_pair() -> None:
    cells = make_cells(np.random.default_rng(0), [0.80, 0.81, 0.9], 60, 2)
    found = list(draw_papers(cells, 20, SPREAD, True, 10))
    rows = build_reliability(found)
    assert len(found) == 30 == sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1])


def test_table_says_what_is_stated_and_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text(YAML)
    table = read_paper_table(path)
    unet, segnet, fcn = table.methods
    assert segnet.sd == pytest.approx(0.014 * 50**0.5)
    assert (unet.sd, fcn.sd) == (0.09, None)
    assert (segnet.seeds, fcn.seeds, fcn.seed_sd, table.states_seeds) == (3, 1, 0.02, False)


def test_percent_and_csv_say_the_same(tmp_path: Path) -> None:
    shares, percent = tmp_path / "paper.yaml", tmp_path / "paper.csv"
    shares.write_text(YAML)
    percent.write_text("method,mean,sd,se,seed_sd,seeds\nunet,86,9,,,\nsegnet,84,,1.4,,3\nfcn,70.0,,,2,\n")
    one, other = read_paper_table(shares), read_paper_table(percent, images=50)
    for first, second in zip(one.methods, other.methods, strict=True):
        assert vars(first) == pytest.approx(vars(second))


def test_command_prints_a_row_for_each_pair_and_json(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text(YAML)
    shown = CliRunner().invoke(app, ["doubt", str(path), "--like", "lesions"])
    assert shown.exit_code == 0, shown.output
    assert next(line for line in shown.stdout.splitlines() if " over " in line).startswith("unet over segnet")
    assert (
        "50 test images" in shown.stdout
        and "lesions" in shown.stdout
        and "one seed where none is stated" in shown.stdout
    )
    content = json.loads(CliRunner().invoke(app, ["doubt", str(path), "--json"]).stdout)
    assert [(pair["better"], pair["worse"]) for pair in content["pairs"]] == [
        ("unet", "segnet"),
        ("unet", "fcn"),
        ("segnet", "fcn"),
    ]
    assert content["pairs"][0]["reversal"] > content["pairs"][0]["wrong"] > content["pairs"][1]["wrong"]
    assert content["images"] == 50


ROW = "{method: a, mean: 0.8}"
FAULTS = [
    ("t.yaml", f"rows: [{ROW}, {{method: b, mean: 0.7}}]", "t.yaml: row 1: images is missing"),
    ("t.yaml", f"images: 9\nrows: [{ROW}]", "t.yaml: has 1 method; an order needs at least two, a row each$"),
    ("t.yaml", f"[{ROW}, {ROW}]", "t.yaml: is a list; put it below a key, rows:"),
    (
        "t.yaml",
        "images: 9\nrows: [{method: a, mean: 80, sd: 8}, {method: b, mean: 70, sd: 0.08}]",
        r"t.yaml: row 2: sd is 0.08, means are in percent; give it in percent too \(8\), or call it seed_sd if it is over",
    ),
    (
        "t.yaml",
        "images: 9\nrows: [{method: a, mean: 80}, {method: b, mean: 70, se: 0.1}]",
        "t.yaml: row 2: se is 0.1, means are in percent",
    ),
    (
        "t.yaml",
        "images: 9\nrows: [{method: a, mean: 80}, {method: b, mean: 70, seed_sd: 0.006}]",
        r"t.yaml: row 2: seed_sd is 0.006, means are in percent; give it in percent too \(0.6\)$",
    ),
    (
        "t.yaml",
        f"images: 9\nrows: [{ROW}, {{method: b, mean: 0.7, seed_sd: 2}}]",
        "t.yaml: row 2: seed_sd is 2; it must be at most 0.5",
    ),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {ROW}]", "t.yaml: row 2: 'a' is a method of an earlier row"),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {{method: b, mean: high}}]", "t.yaml: row 2: mean is 'high'"),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {{method: b, mean: -0.1}}]", "t.yaml: row 2: mean is -0.1"),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {{method: b, dice: 0.1}}]", "t.yaml: row 2: .*unknown key"),
    ("t.yaml", f"images: 9\nrows: [{ROW}, b]", "t.yaml: row 2: holds no keys"),
    (
        "t.yaml",
        f"images: 9\nrows: [{ROW}, {{method: b, mean: 80}}]",
        "t.yaml: row 1: mean is 0.8, others are in percent",
    ),
    (
        "t.yaml",
        f"images: 9\nrows: [{ROW}, {{method: b, mean: 0.7, sd: 8}}]",
        "t.yaml: row 2: sd is 8; it must be at most 0.5",
    ),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {{method: b, mean: 0.7, sd: 0.1, se: 0.1}}]", "row 2: has sd and se"),
    ("t.yaml", f"images: 9\nrows: [{ROW}, {{method: b, mean: 0.7, images: 8}}]", "row 2: images is 8, in row 1 9"),
    ("t.yaml", f"images: 0\nrows: [{ROW}, {{method: b, mean: 0.7}}]", "t.yaml: images is 0"),
    ("t.yaml", f"like: cats\nimages: 9\nrows: [{ROW}, {{method: b, mean: 0.7}}]", "t.yaml: like is 'cats'"),
    ("t.yaml", "images: [", "t.yaml: not readable as YAML"),
    ("t.csv", "method,mean\na,0.8\nb,high\n", "t.csv: row 2: mean is 'high'; it must be a number"),
    ("t.csv", "method,mean\na,0.8\nb,0.7,1\n", "t.csv: row 2: has more cells"),
    ("t.csv", "method,mean\na,0.8\nb,\n", "t.csv: row 2: mean: missing"),
    ("t.csv", "method,mean,images\na,0.8,9\nb,0.7,nan\n", "t.csv: row 2: images is nan"),
    (
        "t.csv",
        "net,dice\na,0.8\n",
        "t.csv: has no column method; it has net, dice, and columns may be method, mean, sd",
    ),
    (
        "t.csv",
        "method,dice\na,0.8\n",
        "t.csv: has no column mean; it has method, dice, and columns may be method, mean",
    ),
    ("t.csv", "method,mean\n", "t.csv: has 0 methods; an order needs at least two, a row each"),
    ("t.csv", "method;mean;Mean\na;1;1\nb;1;1\n", "t.csv: has two columns mean; name each once"),
    ("t.csv", "", "t.csv: is empty; it must have a line of names, such as method,mean,sd,images"),
    ("t.csv", "method,mean\na,\xff", "t.csv: not readable as CSV"),
    ("t.txt", "", "t.txt: must be a .yaml or .csv file"),
]


@pytest.mark.parametrize(("name", "text", "message"), FAULTS)
def test_wrong_table_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    shown = CliRunner().invoke(app, ["doubt", str(path)])
    assert shown.exit_code == 1
    (line,) = shown.stderr.splitlines()
    with pytest.raises(InputError, match=message):
        raise InputError(line)


@pytest.mark.parametrize(
    "text",
    [
        "method, mean, sd\nunet, 86, 9\n segnet , 84 ,\n",
        "Method;Mean;SD\nunet;86;9\nsegnet;84;\n;;\n",
        "METHOD\tmean\tsd\nunet\t86\t9\n\nsegnet\t84\t\n",
        "method;mean;sd\nunet;86,0;9,0\nsegnet;84;\n",
        "\ufeffmethod,mean,sd\r\nunet,86,9\r\nsegnet,84,\r\n",
    ],
)
def test_csv_is_read_as_it_is_meant(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    unet, segnet = read_paper_table(path, images=50).methods
    assert (unet.name, unet.mean, unet.sd) == ("unet", 0.86, 0.09)
    assert (segnet.name, segnet.mean, segnet.sd) == ("segnet", 0.84, None)


def test_options_count_instead_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(f"{YAML}metric: dice\nlike: pets\nseeds: 2\n")
    table = read_paper_table(path, images=80, seeds=5, metric="iou", like="streets")
    assert (table.images, table.metric, table.like) == (80, "iou", "streets")
    assert [method.seeds for method in table.methods] == [5, 5, 5]
    as_stated = read_paper_table(path)
    assert (as_stated.images, as_stated.metric, as_stated.like) == (50, "dice", "pets")
    assert [method.seeds for method in as_stated.methods] == [2, 3, 2]


def test_output_says_which_metric_the_means_are_of(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("method,mean,images\na,0.8,9\nb,0.7,9\n")
    assumed = CliRunner().invoke(app, ["doubt", str(path)]).stdout.splitlines()[-1]
    assert assumed.startswith(
        "Dice of 9 test images; assumed (typical data): Dice, as no metric is stated (--metric), "
    )
    stated = CliRunner().invoke(app, ["doubt", str(path), "--metric", "iou"]).stdout.splitlines()[-1]
    assert stated.startswith("IoU of 9 test images; assumed (typical data): correlation")
    wrong = CliRunner().invoke(app, ["doubt", str(path), "--metric", "miou"])
    assert wrong.exit_code == 1 and wrong.stderr == "ERROR: --metric miou: must be one of dice, iou\n"


def test_lack_of_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give the YAML or CSV file with the table"):
        read_paper_table(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_paper_table(tmp_path / "none.yaml")


def test_benchmark_reports_spreads_and_reliability_of_tables_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for dataset in ("synthetic_lesions", "camvid6"):
        for name in ("unet-dice-s0", "unet-dice-s1", "unet-bce-s0", "unet-bce-s1"):
            truth = 1000
            rows = [
                {
                    "split": "test",
                    "image": f"{number:03}",
                    "hit_lesion": hit,
                    "truth_lesion": truth,
                    "predicted_lesion": truth,
                }
                for number, hit in enumerate(rng.integers(500, 1000, 24))
            ]
            write_csv(tmp_path / dataset / name / "per_image.csv", rows)
    text = report(tmp_path, draws=5)
    assert "| dice | synthetic_lesions | 4 | 24 |" in text
    assert text.count("| all | 10 |") == 2
