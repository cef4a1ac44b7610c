import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losslab.comparison.compare import ComparisonSpec, compare_runs
from losslab.comparison.cost import CostMeter, NetCost
from losslab.comparison.evidence import RunEvidence, read_evidence
from losslab.comparison.result import Comparison
from losslab.errors import InputError
from losslab.study.spec import PublishedNumbers
from tests.comparison.runs_on_disk import make_run, write_run
from tests.export.small_model import describe_bands

QUALITY = {("dice", "unet"): 0.90, ("dice", "segnet"): 0.86, ("bce", "unet"): 0.84, ("bce", "segnet"): 0.80}
AXES = {"loss": ["dice", "bce"], "net": ["unet", "segnet"]}


def make_grid(folder: Path, seeds: int = 3) -> list[RunEvidence]:
    return [
        make_run(folder, {"loss": loss, "net": net}, quality, seed)
        for (loss, net), quality in QUALITY.items()
        for seed in range(seeds)
    ]


def compare(runs: list[RunEvidence], metric: str = "miou", axes: Mapping[str, list[str]] = AXES) -> Comparison:
    spec = ComparisonSpec(
        name="demo", title="Title", question="Which?", metric=metric, axes=axes, warnings=("one run failed",)
    )
    return compare_runs(runs, spec, lambda model: NetCost(model["parameters"], 0.1, 2.0))


def test_cells_are_ranked_and_every_pair_has_a_sentence(tmp_path: Path) -> None:
    comparison = compare(make_grid(tmp_path))
    assert [cell.name for cell in comparison.cells] == ["dice + unet", "dice + segnet", "bce + unet", "bce + segnet"]
    assert comparison.verdict is not None and comparison.verdict.is_decided
    assert len(comparison.sentences) == 6 and comparison.sentences[0].startswith("dice + unet beats dice + segnet by ")
    assert comparison.headline[0].startswith("dice + unet is best: mean IoU 0.")
    assert [run.seed for run in comparison.cells[0].runs] == [0, 1, 2] and comparison.cells[0].train_seconds == 60
    assert comparison.images == 40 and comparison.warnings[0] == "one run failed"


def test_shown_scores_are_those_that_are_judged(tmp_path: Path) -> None:
    comparison = compare(make_grid(tmp_path))
    assert comparison.verdict is not None
    for cell, standing in zip(comparison.cells, comparison.verdict.standings, strict=True):
        assert sum(run.score for run in cell.runs) / 3 == pytest.approx(standing.mean)


def test_more_cells_cost_no_run_more_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ["dice", "bce", "focal", "mcc"]
    runs = [make_run(tmp_path, {"loss": loss}, 0.8, seed) for loss in losses for seed in (0, 1)]
    calls, compute = list[str](), RunEvidence.compute_shares

    def count(run: RunEvidence, metric: str) -> Any:
        calls.append(run.name)
        return compute(run, metric)

    monkeypatch.setattr(RunEvidence, "compute_shares", count)
    compare(runs[:4], axes={"loss": losses[:2]})
    few = calls.count(runs[0].name)
    calls.clear()
    compare(runs, axes={"loss": losses})
    assert calls.count(runs[0].name) == few > 0


def test_axes_are_judged_over_what_the_others_have_in_common(tmp_path: Path) -> None:
    runs = [one for one in make_grid(tmp_path) if one.cell != "bce + segnet"]
    factors = {factor.axis: factor for factor in compare(runs).factors}
    assert factors["loss"].over == "net (unet)" and factors["net"].over == "loss (dice)"
    assert factors["loss"].sentences[0].startswith("dice beats bce by ")
    complete = {factor.axis: factor for factor in compare(make_grid(tmp_path)).factors}
    assert complete["loss"].over == "net (segnet, unet)"


def test_with_one_axis_cells_are_its_labels(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, {"loss": loss}, quality, seed)
        for loss, quality in (("dice", 0.9), ("bce", 0.8))
        for seed in range(3)
    ]
    comparison = compare(runs, axes={"loss": ["dice", "bce"]})
    assert [cell.name for cell in comparison.cells] == ["dice", "bce"] and comparison.factors == []


def test_one_seed_is_said_to_conclude_nothing(tmp_path: Path) -> None:
    comparison = compare(make_grid(tmp_path, seeds=1))
    assert "with 1 seed no difference can be claimed: that takes 3" in comparison.headline[0]
    assert any(warning.startswith("A cell has only 1 seed: ") for warning in comparison.warnings)
    assert "A cell has only 2 seeds: " in " ".join(compare(make_grid(tmp_path, seeds=2)).warnings)


def test_same_model_counts_once(tmp_path: Path) -> None:
    runs = make_grid(tmp_path)
    again = replace(runs[0], name="again")
    comparison = compare([*runs, again])
    assert "again is the same model as dice-unet-s0 and counts once." in comparison.warnings
    assert len(comparison.cells[0].runs) == 3
    other = replace(runs[0], name="other", model_md5="other")
    assert any("2 runs of dice + unet have seed 0" in warning for warning in compare([*runs, other]).warnings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"first": 7},
            "different test sets: dice-unet-s0 has 40 images, other-s3 40; only dice-unet-s0 has test/0000",
        ),
        (
            {"images": 39},
            "different test sets: dice-unet-s0 has 40 images, other-s3 39; only dice-unet-s0 has test/0039",
        ),
        (
            {"size": 32},
            "different true pixels in test/0000 \\(prepare.fit and size stretch 64 and stretch 32; data 64.dir and "
            "32.dir\\); score both at the size of the files: evaluate.resolution=original",
        ),
        (
            {"resolution": "original"},
            "dice-unet-s0 was scored at prepared, other-s3 at original; use the same evaluate.resolution",
        ),
        (
            {"fit": "tile"},
            "dice-unet-s0 was scored at prepared, other-s3 at original; use the same evaluate.resolution",
        ),
    ],
)
def test_other_test_sets_and_metrics_are_refused_with_the_reason(
    tmp_path: Path, options: dict[str, int], reason: str
) -> None:
    other = make_run(tmp_path, {"loss": "other"}, 0.9, 3, **options)
    with pytest.raises(InputError, match=reason):
        compare([*make_grid(tmp_path), other], axes={"loss": ["dice", "bce", "other"]})


def test_axis_whose_test_sets_share_images_is_refused(tmp_path: Path) -> None:
    """The same images at another size are no other test set: they would count twice."""
    sizes = {"64": {}, "32": {"size": 32}, "half": {"first": 20}}
    for other in ("32", "half"):
        runs = [
            make_run(tmp_path, {"size": size}, 0.9, seed, **sizes[size]) for size in ("64", other) for seed in range(3)
        ]
        with pytest.raises(InputError, match="cannot be compared: different test sets"):
            compare(runs, axes={"size": ["64", other]})


def test_class_that_few_test_images_have_is_shown_and_not_judged(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, {"loss": loss}, quality, seed, hairy=2)
        for loss, quality in (("dice", 0.9), ("bce", 0.8))
        for seed in range(3)
    ]
    axes = {"loss": ["dice", "bce"]}
    comparison = compare(runs, "iou_hair", axes)
    assert comparison.verdict is None and comparison.cells[0].name == "dice" and comparison.cells[0].runs[0].score > 0
    assert "no verdict, because only 2 of the test images have hair" in comparison.headline[0]
    by_class = compare(runs, axes=axes).breakdowns[0]
    assert "hair is not judged: only 2 of the test images have hair." in by_class.sentences
    assert by_class.rows[0][1][1].mean == pytest.approx(sum(one.score for one in comparison.cells[0].runs) / 3)


def test_collapsed_run_is_named(tmp_path: Path) -> None:
    runs = make_grid(tmp_path)
    assert not any("look at its training" in warning for warning in compare(runs).warnings)
    fallen = make_run(tmp_path / "fallen", {"loss": "bce", "net": "unet"}, 0.3, 7)
    (warning,) = (one for one in compare([*runs, fallen]).warnings if "look at its training" in one)
    assert warning.startswith("bce-unet-s7 has mean IoU 0.1")
    assert any(pair.is_real for pair in compare([*runs, fallen]).verdict.pairs)  # type: ignore[union-attr]


def test_few_test_images_are_warned_of_and_decide_nothing(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, {"loss": loss}, quality, seed, images=4)
        for loss, quality in (("dice", 0.95), ("bce", 0.5))
        for seed in range(3)
    ]
    comparison = compare(runs, axes={"loss": ["dice", "bce"]})
    assert "There are only 4 test images: verdicts take 5." in comparison.warnings
    assert "but with 4 test images no difference can be claimed: that takes 5." in comparison.headline[0]
    assert comparison.verdict is not None and not comparison.verdict.is_decided


def test_published_scores_stand_beside_the_nearest_of_ours(tmp_path: Path) -> None:
    published = PublishedNumbers.model_validate(
        {
            "source": "s",
            "how": "h",
            "metric": "Dice",
            "ours": "mdice",
            "rows": [{"cell": {"loss": "dice"}, "values": {"d": 0.7}}],
        }
    )
    runs = make_grid(tmp_path)
    spec = ComparisonSpec(name="demo", title="Title", question="Which?", metric="miou", axes=AXES, published=published)
    comparison = compare_runs(runs, spec, lambda model: NetCost(1, None, None))
    assert comparison.published_metric is not None and comparison.published_metric.title == "mean Dice"
    assert comparison.cells[0].runs[0].like_published == pytest.approx(runs[0].compute_shares("mdice").mean())
    with pytest.raises(InputError, match=r"published\.ours: beauty: must be one of"):
        compare_runs(
            runs,
            replace(spec, published=published.model_copy(update={"ours": "beauty"})),
            lambda model: NetCost(1, None, None),
        )


def test_folds_are_test_sets_of_one_comparison(tmp_path: Path) -> None:
    """Five folds, three losses: each loss is averaged over the folds, and ranks are compared too."""
    losses = {"dice": 0.9, "bce": 0.85, "focal": 0.8}
    runs = [
        make_run(tmp_path, {"loss": loss, "fold": str(fold)}, quality + 0.001 * fold, seed, first=100 * fold)
        for loss, quality in losses.items()
        for fold in range(5)
        for seed in range(3)
    ]
    comparison = compare(runs, axes={"loss": list(losses), "fold": [str(fold) for fold in range(5)]})
    assert [cell.name for cell in comparison.cells] == ["dice", "bce", "focal"] and comparison.images == 200
    assert len(comparison.cells[0].runs) == 15 and list(comparison.axes) == ["loss"]
    assert (
        comparison.ranks is not None
        and list(comparison.ranks.mean_ranks) == [1, 2, 3]
        and len(comparison.ranks.blocks) == 5
    )
    assert comparison.verdict is not None and comparison.verdict.is_decided


def test_any_metric_can_be_chosen(tmp_path: Path) -> None:
    assert compare(make_grid(tmp_path), "iou_hair").metric.title == "IoU of hair"
    far = compare(make_grid(tmp_path), "hd95")
    assert far.cells[0].name == "dice + unet" and "pixels" in far.sentences[0]
    with pytest.raises(InputError, match="metric beauty: must be one of miou, "):
        compare(make_grid(tmp_path), "beauty")


def test_metric_that_no_image_has_alone_is_shown_and_not_judged(tmp_path: Path) -> None:
    comparison = compare(make_grid(tmp_path), "ece")
    assert comparison.verdict is None and comparison.cells[0].name == "dice + unet"
    assert "no verdict, because single test images have no ECE" in comparison.headline[0]


def test_classes_and_strata_are_broken_down(tmp_path: Path) -> None:
    breakdowns = compare(make_grid(tmp_path)).breakdowns
    assert [part.id for part in breakdowns] == ["class", "border_distance"]
    assert list(breakdowns[0].columns) == ["skin", "hair"] and breakdowns[0].rows[0][0] == "dice + unet"
    assert any(sentence.startswith("hair: dice beats bce by ") for sentence in breakdowns[0].sentences)
    assert breakdowns[1].rows[0][1][0].mean == pytest.approx(0.05) and not breakdowns[1].higher_is_better


def test_one_cell_is_shown_alone(tmp_path: Path) -> None:
    comparison = compare(make_grid(tmp_path)[:3])
    assert comparison.verdict is None and comparison.breakdowns == [] and "only one cell" in comparison.headline[0]


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="demo: no run has finished yet: run `losslab study run demo`"):
        compare([])


def test_table_of_an_older_losslab_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, 0.9, 0)
    table = tmp_path / "reports/per_image.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("truth_hair", "hair"), encoding="utf-8")
    with pytest.raises(InputError, match=r"old: its tables have no 'truth_hair', .* evaluate it again"):
        read_evidence(tmp_path, "old", {}, {"seed": 0}, "md5")
    (tmp_path / "reports/strata.csv").unlink()
    with pytest.raises(InputError, match=r"old has no reports/strata\.csv: evaluate it again"):
        read_evidence(tmp_path, "old", {}, {"seed": 0}, "md5")


def test_nets_are_counted_and_timed_once_each() -> None:
    reports: list[str] = []
    model = {"arch": "simple_cnn", "encoder": None, "num_classes": 1, "size": 32, "parameters": 7217}
    meter = CostMeter(timed=True, report=reports.append)
    first, again, larger = meter(model), meter(model), meter(model | {"size": 64})
    assert reports == ["simple_cnn", "simple_cnn"] and first is again
    assert first.gflops is not None and larger.gflops == pytest.approx(4 * first.gflops, rel=0.2)
    assert first.image_ms is not None and first.image_ms > 0
    assert CostMeter(timed=False)(model).image_ms is None


def test_net_for_six_bands_is_counted_with_all_of_them() -> None:
    model = {"arch": "simple_cnn", "encoder": None, "num_classes": 1, "size": 64, "parameters": 7217}
    three, six = (CostMeter(timed=True)(described) for described in (model, model | describe_bands(6)))
    assert three.gflops is not None and six.gflops is not None and six.gflops > 1.2 * three.gflops


def make_pair(folder: Path, seeds: int = 3, **options: Any) -> list[RunEvidence]:
    """Make runs of two losses, of which dice is better."""
    return [
        make_run(folder, {"loss": loss}, quality, seed, **options)
        for loss, quality in (("dice", 0.9), ("bce", 0.8))
        for seed in range(seeds)
    ]


LOSSES = {"loss": ["dice", "bce"]}
PATIENTS = [number // 5 for number in range(40)]


@pytest.mark.parametrize("metric", ["miou", "miou_per_image", "iou_hair", "hd95"])
def test_images_of_a_group_count_as_one_unit(tmp_path: Path, metric: str) -> None:
    alone, grouped = (
        compare(make_pair(tmp_path / "a"), metric, LOSSES),
        compare(make_pair(tmp_path / "b", groups=PATIENTS), metric, LOSSES),
    )
    assert (alone.units, alone.test_set) == (40, "40 test images")
    assert (grouped.units, grouped.test_set) == (8, "40 test images in 8 groups")
    pairs = [one.verdict.pairs[0] for one in (alone, grouped) if one.verdict is not None]
    assert [pair.units for pair in pairs] == [40, 8] and pairs[0].gap == pytest.approx(pairs[1].gap)
    for cell, standing in zip(grouped.cells, grouped.verdict.standings, strict=True):  # type: ignore[union-attr]
        assert sum(run.score for run in cell.runs) / 3 == pytest.approx(standing.mean)


def test_groups_of_one_image_change_nothing(tmp_path: Path) -> None:
    alone = compare(make_pair(tmp_path / "a"), axes=LOSSES)
    single = compare(make_pair(tmp_path / "b", groups=range(40)), axes=LOSSES)
    assert single.units == 40 and single.verdict == alone.verdict and single.headline == alone.headline


def test_four_groups_claim_nothing_and_say_so_once(tmp_path: Path) -> None:
    comparison = compare(make_pair(tmp_path, groups=[number // 10 for number in range(40)]), axes=LOSSES)
    assert comparison.verdict is not None and not comparison.verdict.is_decided
    assert comparison.headline[0].endswith("but with 4 test groups no difference can be claimed: that takes 5.")
    assert "There are only 4 test groups: verdicts take 5." in comparison.warnings
    assert comparison.breakdowns[0].sentences == ["skin and hair are not judged: there are only 4 test groups."]
    one = compare(make_pair(tmp_path / "one", groups=[0] * 40), axes=LOSSES)
    assert one.verdict is None and "no verdict, because all test images are of one group" in one.headline[0]


def test_five_groups_of_very_unequal_size_claim_nothing(tmp_path: Path) -> None:
    sizes = [20, 9, 5, 3, 3]
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    comparison = compare(make_pair(tmp_path, groups=groups), axes=LOSSES)
    assert comparison.verdict is not None and not comparison.verdict.is_decided and comparison.units == 5
    assert "with 3 effective test groups no difference can be claimed" in comparison.headline[0]
    assert "There are only 3 effective test groups (groups differ in size): verdicts take 5." in comparison.warnings
    even = [number for number, size in enumerate([9, 8, 8, 8, 7]) for _ in range(size)]
    assert compare(make_pair(tmp_path / "even", groups=even), axes=LOSSES).verdict.is_decided  # type: ignore[union-attr]


def test_class_that_few_groups_have_is_not_judged(tmp_path: Path) -> None:
    comparison = compare(make_pair(tmp_path, groups=PATIENTS, hairy=20), axes=LOSSES)
    assert "hair is not judged: only 4 of the test groups have hair." in comparison.breakdowns[0].sentences


def test_runs_from_before_groups_take_those_of_the_others(tmp_path: Path) -> None:
    old, new = make_pair(tmp_path / "old"), make_pair(tmp_path / "new", groups=PATIENTS)
    mixed = compare([*old[:3], *new[3:]], axes=LOSSES)
    assert mixed.units == 8 and mixed.verdict == compare(new, axes=LOSSES).verdict
    other = make_pair(tmp_path / "other", groups=[number // 4 for number in range(40)])
    with pytest.raises(
        InputError, match="different groups of test images: bce-s0 and dice-s1 were prepared with other"
    ):
        compare([old[0], *new[3:], other[1]], axes=LOSSES)


DESIGNS: dict[str, tuple[Mapping[str, float], Mapping[str, float], list[str]]] = {
    "one winner": (
        {"dice": 0.9, "bce": 0.8},
        {"": 0},
        [
            r"dice is best: mean IoU 0\.\d+ ± 0\.\d+; it beats bce by .* points \(95 % CI",
            "Clearest in IoU of hair: dice beats",
        ],
    ),
    "two tied": (
        {"dice": 0.901, "bce": 0.9},
        {"": 0},
        [r"dice and bce cannot be told apart \(best mean: dice, .*; 3 seeds, 40 test images\)\."],
    ),
    "two equal": (
        {"dice": 0.8501, "bce": 0.85},
        {"": 0},
        [r"dice and bce are equivalent within 1 point \(best mean: dice, .*; 3 seeds, 40 test images\)\."],
    ),
    "one of five is worse": (
        {"a": 0.85, "b": 0.851, "c": 0.852, "d": 0.853, "e": 0.7},
        {"": 0},
        [r"4 of 5 cells .* \(best mean: .*\); 1 other is worse[.;]", "Clearest in"],
    ),
    "a net decides": (
        {"dice": 0.001, "bce": 0.0},
        {"unet": 0.85, "segnet": 0.8},
        [
            r"dice \+ unet and bce \+ unet cannot be told apart .*; 2 others are worse\.",
            r"On average no loss is best and the best net is unet \(.* points over segnet, 95 % CI",
            "Clearest in IoU of hair: unet beats segnet",
        ],
    ),
    "nothing decides": (
        {"dice": 0.001, "bce": 0.0},
        {"unet": 0.8, "segnet": 0.8},
        [r"The 4 cells are equivalent within 1 point \(best .*\)\.", r"On average no loss and no net is best\."],
    ),
}


def test_headline_says_which_cells_are_open_beside_an_equivalent_one(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, {"loss": loss}, quality + spread * seed, seed)
        for loss, quality, spread in (("dice", 0.8501, 0.0), ("bce", 0.85, 0.0), ("focal", 0.8, 0.045))
        for seed in range(3)
    ]
    comparison = compare(runs, axes={"loss": ["dice", "bce", "focal"]})
    assert comparison.headline[0].startswith("dice, bce and focal cannot be told apart")
    assert comparison.headline[0].endswith("; bce is equivalent within 1 point of the best.")


@pytest.mark.parametrize(
    ("qualities", "seeds", "wanted"),
    [
        ({"dice": 0.9, "bce": 0.8}, 3, "No pair is open: "),
        ({"dice": 0.9, "bce": 0.8}, 2, "More seeds: a verdict takes 3 per cell, not 2."),
        ({"dice": 0.9, "bce": 0.8, "focal": 0.79}, 3, "Between focal and bce: "),
    ],
)
def test_page_says_what_would_change_the_verdict(
    tmp_path: Path, qualities: Mapping[str, float], seeds: int, wanted: str
) -> None:
    runs = [
        make_run(tmp_path, {"loss": loss}, quality + 0.01 * seed * (loss == "focal"), seed)
        for loss, quality in qualities.items()
        for seed in range(seeds)
    ]
    changes = compare(runs, axes={"loss": list(qualities)}).changes
    assert changes[0].startswith(wanted)


def test_runs_that_still_rise_may_change_the_verdict(tmp_path: Path) -> None:
    runs = make_pair(tmp_path)
    rising = [replace(run, history=run.history[:2]) for run in runs[:1]]
    changes = compare([*rising, *runs[1:]], axes=LOSSES).changes
    assert changes[-1] == "Longer training: 1 of 6 runs was best in the last epoch."


@pytest.mark.parametrize("design", DESIGNS)
def test_headline_has_at_most_three_lines_none_of_which_repeats_another(tmp_path: Path, design: str) -> None:
    losses, nets, wanted = DESIGNS[design]
    axes = {"loss": list(losses)} | ({"net": list(nets)} if len(nets) > 1 else {})
    runs = [
        make_run(tmp_path, {"loss": loss} | ({"net": net} if net else {}), quality + more, seed)
        for (loss, quality), (net, more) in itertools.product(losses.items(), nets.items())
        for seed in range(3)
    ]
    headline = compare(runs, axes=axes).headline
    assert len(headline) == len(wanted) <= 3
    for line, pattern in zip(headline, wanted, strict=True):
        assert re.match(pattern, line), line
        assert len(line.split()) <= 45
    clauses = [clause for line in headline for clause in re.split(r"[;:(),]", line) if len(clause.split()) > 4]
    assert len(clauses) == len(set(clauses))


def test_headline_by_the_metric_of_a_class_does_not_say_it_twice(tmp_path: Path) -> None:
    (line,) = compare(make_pair(tmp_path), "iou_hair", LOSSES).headline
    assert line.startswith("dice is best: IoU of hair 0.")


def test_an_ensemble_is_a_cell_of_its_own_that_costs_as_much_as_its_nets(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, {"ensemble": "single net"}, 0.8, seed) for seed in range(3)]
    one = make_run(tmp_path, {"ensemble": "3 nets"}, 0.9, 7)
    net: dict[str, Any] = {"arch": "simple_cnn", "arch_options": {}, "encoder": None, "parameters": 7217}
    members = [{"run": f"m{n}", "weights": str(n) * 32, "settings": {}} for n in range(3)]
    ensemble = {"average": "probabilities", "members": members}
    about = {"ensemble": ensemble, "ensemble_facts": {"members": [{"run": f"m{n}", **net} for n in range(3)]}}
    params = {**one.params, "evaluate": {"ensemble": ensemble}}
    both = [replace(one, evaluation={**one.evaluation, **about}, params=params), *runs]
    spec = ComparisonSpec(name="x", title="x", question="?", metric="miou", axes={"ensemble": ["single net", "3 nets"]})
    compared = compare_runs(both, spec, CostMeter(timed=False))
    cells = {cell.name: cell for cell in compared.cells}
    assert cells["3 nets"].parameters == 3 * cells["single net"].parameters == 3 * 7217
    assert compared.verdict is not None and not any(pair.is_real for pair in compared.verdict.pairs)
    assert "one seed cannot tell" in compared.sentences[0] and "no difference can be claimed" in compared.headline[0]
