from pathlib import Path

import pytest

from losslab.advice import advise, read_results
from losslab.advice.choice import weigh_kinds
from losslab.advice.wording import explain_kind, explain_loss, list_doubts
from losslab.errors import InputError
from tests.advice.rows import KINDS, MEASURES, THIN, measure, write_rows


def test_data_like_a_kind_get_what_was_best_on_it(tmp_path: Path) -> None:
    kinds = read_results(write_rows(tmp_path / "rows"))
    thin = advise(measure(**THIN | {"width_px": 1.8}), kinds)
    assert (thin.kinds[0].results.kind, thin.losses[0].loss) == ("vessels", "bce")
    assert thin.kinds[0].weight > 0.8
    assert advise(measure(), kinds).losses[0].loss == "dice"
    assert sum(kind.weight for kind in thin.kinds) == pytest.approx(1)


def test_kinds_that_are_equally_near_count_alike(tmp_path: Path) -> None:
    _, points = KINDS["lesions"]
    kinds = read_results(write_rows(tmp_path / "rows", {"one": (MEASURES, points), "two": (MEASURES, points)}))
    assert [kind.weight for kind in weigh_kinds(measure(width_px=1.0), kinds)] == [0.5, 0.5]


def test_of_losses_that_seeds_cannot_tell_apart_another_sort_is_taken(tmp_path: Path) -> None:
    points = {"dice": 80.0, "jaccard": 79.99, "tversky": 79.98, "focal": 79.92, "bce": 60.0}
    kinds = read_results(write_rows(tmp_path / "rows", {"one": (MEASURES, points)}))
    advice = advise(measure(), kinds)
    assert [chosen.loss for chosen in advice.losses] == ["dice", "jaccard", "focal"]
    assert "They differ by 0.1 points, which seeds alone can make" in list_doubts(advice, measure(), False)[-1]


def test_usual_choice_comes_first_unless_another_is_shown_to_be_better(tmp_path: Path) -> None:
    """On two kinds that count alike dice leads by 3 points, or by 6 on one and 0 on the other: that proves nothing."""
    usual, worse = {"dice+cross_entropy": 70.0, "bce": 50.0}, {"dice+cross_entropy": 60.0, "bce": 40.0}
    for one, two, first in (
        (73.0, 63.0, "dice"),
        (76.0, 60.0, "dice+cross_entropy"),
        (70.1, 60.1, "dice+cross_entropy"),
    ):
        rows = {"one": (MEASURES, usual | {"dice": one}), "two": (MEASURES, worse | {"dice": two})}
        advice = advise(measure(width_px=1.0), read_results(write_rows(tmp_path / f"{one}", rows)))
        assert advice.losses[0].loss == first and {"dice", "dice+cross_entropy"} <= {
            each.loss for each in advice.losses
        }
        said = "dice+cross_entropy comes first: it is not shown that another is better."
        assert (said in list_doubts(advice, measure(width_px=1.0), False)) == (first != "dice")


def test_losses_that_do_not_fit_or_lack_runs_are_left_out(tmp_path: Path) -> None:
    changed = KINDS | {"nuclei": (KINDS["nuclei"][0], {"dice": 70.0, "focal": 71.0, "mcc": 10.0})}
    advice = advise(measure(), read_results(write_rows(tmp_path / "rows", changed)), lambda loss: loss != "focal")
    assert [chosen.loss for chosen in advice.losses] == ["dice"]
    assert set(advice.left_out) == {"dice+cross_entropy", "focal", "cross_entropy", "bce", "mcc"}
    with pytest.raises(InputError, match="no loss that this dataset takes"):
        advise(
            measure(),
            advice_kinds := [kind.results for kind in advice.kinds],
            lambda loss: loss not in advice_kinds[0].gaps,
        )


def test_reasons_and_doubts_are_said(tmp_path: Path) -> None:
    kinds = read_results(write_rows(tmp_path / "rows"))
    measured = measure(**THIN | {"width_px": 1.8})
    advice = advise(measured, kinds)
    assert explain_loss(advice.losses[0], advice, "focal") == "on vessels the best of 5, 8.0 above focal"
    said = explain_kind(advice.kinds[0], measured)
    assert said.startswith("vessels, ") and "width of objects (2.5 % of the side; yours 2.8 % of the side)" in said
    usual = advise(measure(), kinds)
    assert "on lesions the best of 5, 2.0 above cross_entropy" in explain_loss(usual.losses[0], usual, "mine")
    assert list_doubts(advice, measured, overlapping=False) == []
    far = measure(classes=100, rarest_share=1e-5)
    doubts = list_doubts(advise(far, kinds), far, overlapping=True)
    assert doubts[0].startswith("No kind of data is much like this one: the nearest, ") and "yours 0.001 %" in doubts[0]
    assert doubts[1].startswith("No kind of data has overlapping classes")
    one = advise(measure(), kinds[:1])
    assert list_doubts(one, measure(), False)[0].startswith("There are rows of one kind of data alone, lesions")
