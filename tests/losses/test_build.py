"""Building a loss: expressions, options, weights."""

from typing import Any

import pytest

from losslab.errors import InputError
from losslab.losses import build_loss
from losslab.losses.class_weights import compute_class_weights
from losslab.reporting.losses.checks.bench import draw_batch


def test_expression_is_the_weighted_sum_of_its_terms() -> None:
    logits, target = draw_batch(3)
    loss = build_loss("0.3*bce+2*dice", 3)
    terms = loss.compute_terms(logits, target)
    assert list(terms) == ["bce", "dice"]
    assert loss(logits, target) == pytest.approx(float(0.3 * terms["bce"] + 2 * terms["dice"]))
    assert terms["dice"] == build_loss("dice", 3)(logits, target)


def test_option_goes_to_each_loss_that_takes_it_and_a_section_to_one() -> None:
    logits, target = draw_batch(3)
    loss = build_loss("dice+jaccard+focal", 3, options={"smooth": 5.0, "jaccard": {"smooth": 1.0}, "gamma": 1.0})
    terms = loss.compute_terms(logits, target)
    assert terms["dice"] == build_loss("dice", 3, options={"smooth": 5.0})(logits, target)
    assert terms["jaccard"] == build_loss("jaccard", 3, options={"smooth": 1.0})(logits, target)
    assert terms["focal"] == build_loss("focal", 3, options={"gamma": 1.0})(logits, target)


def test_ramp_moves_the_weight_linearly_over_the_epochs() -> None:
    logits, target = draw_batch(3)
    loss = build_loss("dice+0.01:0.1*boundary", 3)
    terms = loss.compute_terms(logits, target)
    for epoch, weight in ((0, 0.01), (5, 0.055), (10, 0.1), (20, 0.1)):
        loss.set_epoch(epoch, 11)
        assert loss.ramped == {"boundary": pytest.approx(weight)}
        assert loss(logits, target) == pytest.approx(float(terms["dice"] + weight * terms["boundary"]))
    loss.set_epoch(0, 1)
    assert loss.ramped == {"boundary": 0.01}


def test_class_weights_given_replace_the_option() -> None:
    logits, target = draw_batch(3)
    expected = build_loss("cross_entropy", 3, options={"class_weights": [1.0, 2.0, 3.0]})(logits, target)
    for options in ({"class_weights": "median_frequency"}, {"cross_entropy": {"class_weights": "inverse_frequency"}}):
        assert build_loss("cross_entropy", 3, class_weights=[1, 2, 3], options=options)(logits, target) == expected


def test_class_weights_by_hand() -> None:
    """60, 30, 0 and 10 pixels; the last class is in one of two images, of 50 pixels."""
    pixels, where_present = [60, 30, 0, 10], [100, 100, 0, 50]
    assert compute_class_weights("inverse_frequency", pixels, where_present) == pytest.approx(
        [100 / 180, 100 / 90, 0, 100 / 30]
    )
    # Frequencies 0.6, 0.3 and 0.2, their median 0.3.
    assert compute_class_weights("median_frequency", pixels, where_present) == pytest.approx([0.5, 1.0, 0, 1.5])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"expression": "dise"}, r"no such loss: 'dise' in 'dise' \(available: cross_entropy, bce"),
        ({"expression": "dice", "options": {"gamma": 1.0}}, "loss_options.gamma: dice has no such option; .*smooth"),
        ({"expression": "focal", "options": {"gamma": -1.0}}, "loss_options.gamma is -1.0"),
        ({"expression": "focal", "options": {"gamma": "2"}}, "loss_options.gamma is '2'"),
        (
            {"expression": "focal", "options": {"alpha": 0.5}},
            "loss_options.alpha is 0.5; for 3 classes it must be a list",
        ),
        ({"expression": "focal", "options": {"alpha": [1.0]}}, r"loss_options.alpha is \[1.0\]; .* each of 3 classes"),
        ({"expression": "dice", "class_weights": [1, 1, 1]}, "class_weights: dice has no such option"),
        (
            {"expression": "cross_entropy", "class_weights": [1.0]},
            r"loss_options.class_weights is \[1.0\]; .* each of 3 classes",
        ),
        (
            {"expression": "cross_entropy", "class_weights": [1.0, -1.0, 1.0]},
            r"loss_options.class_weights is .*greater than or equal to 0",
        ),
        (
            {"expression": "cross_entropy", "options": {"class_weights": "frequency"}},
            r"class_weights is 'frequency' \(cross_entropy\); it must be .*list or 'inverse_frequency' or .* or null",
        ),
        (
            {"expression": "cross_entropy", "options": {"class_weights": "median_frequency"}},
            "class_weights is 'median_frequency', which needs the pixel counts",
        ),
        (
            {"expression": "focal+focal_tversky", "options": {"gamma": 1.5}},
            "gamma: focal and focal_tversky give it other meanings or defaults; set loss_options.focal.gamma or",
        ),
        (
            {"expression": "focal+focal_ovr", "options": {"alpha": 0.25}},
            "alpha: focal and focal_ovr give it other",
        ),
        (
            {"expression": "cross_entropy", "options": {"class_weights": [1.0, None, 1.0]}},
            "it must be a list whose item 2 is .*number or 'inverse_frequency' or 'median_frequency' or null",
        ),
        ({"expression": "cross_entropy", "options": {"class_weights": [1e-50] * 3}}, "item 1 is 0, or at least 1e-6"),
        ({"expression": "cross_entropy", "options": {"class_weights": [1e308, 1, 1]}}, "item 1 is less than or equal"),
        ({"expression": "focal", "options": {"gamma": 1e9}}, "loss_options.gamma is 1000000000.0 .*equal to 100"),
        (
            {"expression": "ssim", "options": {"ssim": {"window": 4}}},
            r"loss_options.ssim.window is 4 \(ssim\); it must be odd",
        ),
        ({"expression": "focal", "options": {"focal": {"alpha": 0.5}}}, "loss_options.focal.alpha is 0.5; for 3"),
        ({"expression": "dice", "options": {"focal": {"gamma": 1.0}}}, "loss_options.focal: dice has no focal"),
        (
            {"expression": "focal", "options": {"focal": 2.0}},
            "loss_options.focal is 2.0; it must hold options, such as",
        ),
        (
            {"expression": "focal+dice", "options": {"focal": {"smooth": 1.0}}},
            "loss_options.focal.smooth: focal has no such option; available: focal: gamma, alpha",
        ),
        ({"expression": "focal", "options": {"focal": {"gamma": -1.0}}}, "loss_options.focal.gamma is -1.0"),
        ({"expression": "ssim", "options": {"window": 10}}, r"loss_options.window is 10 \(ssim\); it must be odd"),
        ({"expression": "topk_cross_entropy", "options": {"k": 0.0}}, "loss_options.k is 0.0"),
        ({"expression": "boundary", "options": {"alpha": 1.0}}, "boundary has no such option; .* boundary: none"),
        ({"expression": "dice", "options": {"reduction_over": "pixel"}}, "loss_options.reduction_over is 'pixel'"),
        ({"expression": "dice", "num_classes": 0}, "num_classes is 0"),
    ],
)
def test_ill_arguments_are_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build_loss(**{"num_classes": 3, **arguments})
