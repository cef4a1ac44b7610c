import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from losslab.errors import InputError
from losslab.io.yaml import read_yaml
from losslab.losses.expression import LossTerm, parse_expression
from losslab.losses.parsed_loss import parse_loss


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("dice", [LossTerm(1.0, "dice")]),
        ("bce+dice", [LossTerm(1.0, "bce"), LossTerm(1.0, "dice")]),
        (" 0.7 * cross_entropy + .3*focal ", [LossTerm(0.7, "cross_entropy"), LossTerm(0.3, "focal")]),
        ("dice+1e-2*bce", [LossTerm(1.0, "dice"), LossTerm(0.01, "bce")]),
        ("dice + 0.01 : 1e-1 * boundary", [LossTerm(1.0, "dice"), LossTerm(0.01, "boundary", 0.1)]),
        ("dice+0.01:1e-1*boundary", [LossTerm(1.0, "dice"), LossTerm(0.01, "boundary", 0.1)]),
        ("1:0*dice+0:1*boundary", [LossTerm(1.0, "dice", 0.0), LossTerm(0.0, "boundary", 1.0)]),
        ("1e+2*dice+bce", [LossTerm(100.0, "dice"), LossTerm(1.0, "bce")]),
    ],
)
def test_expression_gives_its_terms(expression: str, terms: list[LossTerm]) -> None:
    assert parse_expression(expression) == terms


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "not a sum of losses"),
        ("dice+", "not a sum of losses"),
        ("dice-bce", "not a sum of losses"),
        ("dice*0.5", "0.5"),
        ("dyce", r"no such loss: 'dyce' in 'dyce' \(available: cross_entropy, bce, focal, focal_ovr"),
        ("0*dice", "weight '0'; a weight is a positive number"),
        ("-1*dice", "weight '-1'"),
        ("nan*dice", "weight 'nan'"),
        ("inf*dice", "weight 'inf'"),
        ("x*dice", "weight 'x'"),
        ("1_0*dice", "weight '1_0'"),
        ("٣*dice", "weight '٣'"),
        ("0:0*dice", "weight '0:0'; .* or first:last for a ramp"),
        ("0.1:*dice", "weight '0.1:'"),
        ("0.1:-1*dice", "weight '0.1:-1'"),
        ("0:1:2*dice", "weight '0:1:2'"),
        ("dice+0.5*dice", "names dice twice"),
    ],
)
def test_ill_expression_is_refused_in_one_line(expression: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        parse_expression(expression)
    assert "\n" not in str(caught.value)


def test_loss_without_the_partner_it_needs_brings_advice() -> None:
    assert parse_loss("dice+0.01:0.1*boundary", {}).advice is None and parse_loss("dice", {}).advice is None
    assert parse_loss("boundary+total_variation", {}).advice == (
        "loss: boundary+total_variation may not learn anything by itself: "
        "combine boundary with another loss, such as dice+0.01:0.1*boundary"
    )


def test_ramp_survives_the_grammar_of_dvc_exp_run(tmp_path: Path) -> None:
    params, ramp = tmp_path / "params.yaml", "dice+0.01:0.1*boundary"
    for (sweep,) in (values.values() for values in get_hydra_sweeps({params: [f"loss=1:0*dice+0:1*bce,{ramp}"]})):
        params.write_text("loss: dice\n", encoding="utf-8")
        apply_overrides(params, sweep)
        assert [term.last is not None for term in parse_expression(read_yaml(params)["loss"])][-1]
    assert read_yaml(params)["loss"] == ramp


@pytest.mark.parametrize(
    "module",
    [
        "losslab.params",
        "losslab.losses",
        "losslab.models",
        "losslab.data.prepare.prepare",
        "losslab.reporting.run.page",
    ],
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'mlflow', 'lightning')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
