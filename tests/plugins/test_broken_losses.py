"""Losses that are wrong in one way each: the test bench fails them for that, names it, and gives the line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.errors import InputError
from losslab.losses.registry import LOSSES
from losslab.reporting.losses import probes
from losslab.reporting.losses.checks.battery import CHECKS, check_loss
from tests.conftest import ROOT

Write = Callable[[str, str], Path]
HEAD = """
import torch
from torch import Tensor
from torch.nn import functional as F
from losslab.losses.base import Loss, cross_entropy, masked_mean
from losslab.plugins import loss

def compute_costs(logits, target):
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits), reduction="none")
    return F.cross_entropy(logits, target, reduction="none")

def compute_dice(p, y, over):
    return 1 - (2 * (p * y).sum(over) + 1) / (p.sum(over) + y.sum(over) + 1)

"""
BROKEN = {
    "ignores ignore_index": (
        "ignored pixels",
        "ignored pixels around the images change the value",
        """
@loss  # here
def mine(logits, target):
    return compute_costs(logits, target).mean()
""",
    ),
    "ignores ignore_index in the mean alone": (
        "ignored pixels",
        "ignored pixels around the images change the value",
        """
@loss  # here
def mine(logits, target, valid):
    return (compute_costs(logits, target) * valid).mean()
""",
    ),
    "0/0 where all is ignored": (
        "ignored pixels",
        "a batch of ignored pixels alone costs nan",
        """
@loss
def mine(logits, target, valid):
    return (compute_costs(logits, target) * valid).sum() / valid.sum()  # here
""",
    ),
    "NaN at saturation": (
        "finite",
        "the value is nan at float32 logits of ±10 000",
        """
@loss
def mine(probabilities, one_hot, valid):
    logs = [torch.log(part) for part in (probabilities, 1 - probabilities)]  # here
    return -masked_mean((one_hot * logs[0] + (1 - one_hot) * logs[1]).sum(1), valid)
""",
    ),
    "gradient that is NaN at saturation": (
        "finite",
        "the gradient is not finite",
        """
@loss
def mine(probabilities, one_hot, valid):
    squares = (probabilities - one_hot).pow(2).sum(1)
    return masked_mean(squares.sqrt(), valid)  # here
""",
    ),
    "wrong sign": (
        "labels and sign",
        "wrong sign",
        """
@loss  # here
def mine(probabilities, one_hot):
    return -compute_dice(probabilities, one_hot, (2, 3)).mean()
""",
    ),
    "wrong sign of a loss with a partner": (
        "labels and sign",
        "wrong sign",
        """
@loss(partner="dice+mine")  # here
def mine(logits, target, valid):
    return masked_mean(-compute_costs(logits, target), valid)
""",
    ),
    "mean over the batch instead of images": (
        "mean of images",
        "pooled over the batch",
        """
@loss  # here
def mine(probabilities, one_hot):
    return compute_dice(probabilities, one_hot, (0, 2, 3)).mean()
""",
    ),
    "sum over images": (
        "mean of images",
        "the sum of its images",
        """
@loss  # here
def mine(logits, target, valid):
    return ((compute_costs(logits, target) * valid).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)).sum()
""",
    ),
    "detached gradient": (
        "gradient",
        "no gradient reaches the logits",
        """
@loss
def mine(probabilities, one_hot, valid):
    hard = (probabilities > 0.5).float()  # here
    return masked_mean((hard - one_hot).abs().mean(1), valid)
""",
    ),
    "gradient that is detached in part": (
        "slope",
        "part of it is detached",
        """
@loss
def mine(logits, target, valid):
    costs = compute_costs(logits, target)
    weights = (1 - (-costs).exp()).detach()  # here
    return masked_mean(weights * costs, valid)
""",
    ),
    "non-deterministic": (
        "same bits",
        "two passes over the same batch differ in their value",
        """
@loss
def mine(logits, target, valid):
    chosen = torch.rand(target.shape) > 0.5  # here
    return masked_mean(compute_costs(logits, target), valid & chosen)
""",
    ),
    "in-place on logits": (
        "in place",
        "it changes logits in place",
        """
@loss
def mine(logits, target, valid):
    logits.clamp_(-10, 10)  # here
    return masked_mean(compute_costs(logits, target), valid)
""",
    ),
    "in-place on the net's own logits": (
        "in place",
        "it changes logits in place",
        """
@loss
class mine(Loss):
    def forward(self, logits, target):
        logits.data -= logits.data.mean()  # here
        return super().forward(logits, target)
    def compute(self, batch):
        return masked_mean(cross_entropy(batch), batch.valid)
""",
    ),
    "labels one too high": (
        "labels and sign",
        "labels are one too high",
        """
@loss  # here
def mine(logits, target, valid):
    return masked_mean(compute_costs(logits, target + 1), valid)
""",
    ),
    "labels one too high, the last one clamped": (
        "labels and sign",
        "labels are one too high",
        """
@loss  # here
def mine(logits, target, valid):
    return masked_mean(compute_costs(logits, (target + 1).clamp(max=max(logits.shape[1], 2) - 1)), valid)
""",
    ),
    "labels one too high with one logit alone": (
        "labels and sign",
        "labels are one too high: with one logit",
        """
@loss  # here
def mine(logits, target, valid):
    return masked_mean(compute_costs(logits, target + (logits.shape[1] == 1)), valid)
""",
    ),
    "truth that is not looked at": (
        "labels and sign",
        "it does not look at the truth",
        """
@loss  # here
def mine(probabilities, valid):
    return masked_mean(probabilities.pow(2).sum(1), valid)
""",
    ),
    "ignored labels that are let in": (
        "ignored pixels",
        "IndexError: Target 255 is out of bounds",
        """
@loss
class mine(Loss):
    def forward(self, logits, target):
        if logits.shape[1] == 1:
            return super().forward(logits, target)
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), target)  # here
    def compute(self, batch):
        return masked_mean(cross_entropy(batch), batch.valid)
""",
    ),
    "labels that run over the planes": (
        "labels and sign",
        "labels are one too high",
        """
@loss  # here
def mine(probabilities, target, valid):
    planes = F.one_hot(target + 1, 5).permute(0, 3, 1, 2)[:, : probabilities.shape[1]]
    return masked_mean((probabilities - planes * valid.unsqueeze(1)).pow(2).sum(1), valid)
""",
    ),
    "float instead of a tensor": (
        "runs",
        "mine returned float; a loss returns a float tensor without dimensions",
        """
@loss  # here
def mine(logits, target, valid):
    return masked_mean(compute_costs(logits, target), valid).item()
""",
    ),
    "window larger than a small image": (
        "shapes and dtypes",
        "Output size is too small",
        """
@loss
def mine(logits, target, valid):
    costs = compute_costs(logits, target) * valid
    F.avg_pool2d(costs[:, None], 3)  # here
    return costs.sum() / valid.sum().clamp(min=1)
""",
    ),
    "one class that is not learnt": (
        "overfit",
        "mine has an mIoU of 0.",
        """
@loss  # here
def mine(logits, target, valid):
    weights = 1 - 0.999 * ((target == 2) & (logits.shape[1] > 2))
    return masked_mean(weights * compute_costs(logits, target), valid)
""",
    ),
    "value in half precision": (
        "half precision",
        "logits under autocast cost",
        """
@loss  # here
class mine(Loss):
    def forward(self, logits, target):
        return self.compute(self.check(logits, target))
    def compute(self, batch):
        weight = torch.eye(3 if batch.logits.shape[1] == 3 else 1, dtype=batch.logits.dtype)
        mixed = torch.einsum("nchw,cd->ndhw", batch.logits, weight).to(batch.logits.dtype)
        return masked_mean(compute_costs(mixed, batch.target), batch.valid)
""",
    ),
}
"""Fault → the check that fails, what it says, and a loss that is otherwise right; `# here` is on the line to look at."""


@pytest.fixture(autouse=True)
def small_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEP_SHAPE", (1, 3, 32, 32))


BINARY = """
@loss
def mine(logits, target, valid):
    if logits.shape[1] > 1:
        raise ValueError("it is for binary data")
    return masked_mean(compute_costs(logits, target) * (1 - {unseen} * target), valid)
"""


@pytest.mark.parametrize(("unseen", "learns"), [("0", "pass"), ("0.999", "FAIL")])
def test_loss_for_binary_data_alone_learns_and_is_measured_on_such(unseen: str, learns: str, write: Write) -> None:
    write("mine.py", HEAD + BINARY.format(unseen=unseen))
    overfit, cost = check_loss("mine", names=("overfit", "cost"))
    assert overfit.verdict == learns and "ms a step" in cost.meaning


@pytest.mark.parametrize(("check", "text", "source"), BROKEN.values(), ids=BROKEN)
def test_broken_loss_fails_the_check_that_names_its_fault(check: str, text: str, source: str, write: Write) -> None:
    write("mine.py", HEAD + source)
    failed = [result for result in check_loss("mine") if result.verdict == "FAIL"]
    assert [result.check for result in failed] == [check]
    assert text in failed[0].meaning
    line = (HEAD + source).splitlines().index(next(row for row in (HEAD + source).splitlines() if "# here" in row)) + 1
    assert failed[0].place == f"plugins/mine.py:{line}"


DICE = """
@loss
def mine(probabilities, one_hot, *, smooth: float = 1e-6):
    over = (2, 3)
    top = 2 * (probabilities * one_hot).sum(over) + smooth
    return (1 - top / (probabilities.sum(over) + one_hot.sum(over) + smooth)).mean()
"""
FOCAL = """
@loss
def mine(logits, one_hot, valid):
    costs = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    return masked_mean((costs * (1 - (-costs).exp()) ** 2).mean(1), valid)
"""
RIGHT = """
@loss
def mine(logits, target, valid):
    return masked_mean(compute_costs(logits, target), valid)
"""
BY_DESIGN = {
    "Dice over absent classes": (DICE, "absent classes", "it averages over absent classes"),
    "one against the rest": (FOCAL, "softmax", "each class is one against the rest (sigmoid)"),
    "pooled, as declared": (
        BROKEN["mean over the batch instead of images"][2].replace(
            "@loss", "@loss(by_design={'mean of images': 'small'})"
        ),
        "mean of images",
        "By design: small",
    ),
    "blind with a partner": (
        BROKEN["truth that is not looked at"][2].replace("@loss", "@loss(partner='dice+mine')"),
        "labels and sign",
        "By design: it needs a partner, as in dice+mine",
    ),
    "three classes alone": (
        RIGHT.replace("    return", "    if logits.shape[1] == 1:\n        raise ValueError('no')\n    return"),
        "one or two logits",
        "not defined with one logit: plugins/mine.py:20: ValueError: no",
    ),
}
"""Trait → a loss that has it by design, the check with a note on it, and what that says."""


@pytest.mark.parametrize(("source", "check", "text"), BY_DESIGN.values(), ids=BY_DESIGN)
def test_what_a_loss_is_by_design_is_noted_and_does_not_fail(source: str, check: str, text: str, write: Write) -> None:
    write("mine.py", HEAD + source)
    results = {result.check: result for result in check_loss("mine")}
    assert {name for name, result in results.items() if result.verdict == "FAIL"} <= (
        {"overfit"} if "partner" in source else set()
    )
    assert results[check].verdict == "note" and text in results[check].meaning


def test_command_prints_a_line_a_check_and_exits_with_1_only_where_one_fails(write: Write) -> None:
    write("mine.py", HEAD + RIGHT)
    done = CliRunner().invoke(app, ["losses", "check", "mine"])
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[0] for line in done.output.splitlines()] == ["verdict", *["pass"] * len(CHECKS)]
    write("mine.py", HEAD + BROKEN["in-place on logits"][2])
    done = CliRunner().invoke(app, ["losses", "check", "mine", "--json"])
    assert done.exit_code == 1 and done.stderr.startswith("ERROR: mine fails: in place; ")
    assert [row["verdict"] for row in json.loads(done.stdout)] == ["pass", "pass", "FAIL"]


def test_options_are_set_and_checked_like_those_of_params_yaml(write: Write) -> None:
    write("mine.py", HEAD + DICE)
    for arguments, code, text in (
        (["mine", "--set", "smooth=1"], 0, "absent classes"),
        (["mine", "--set", "smoth=1"], 1, "ERROR: loss_options.smoth: mine has no such option"),
        (["mine", "--set", "smooth"], 1, "ERROR: --set smooth: must be key=value, such as gamma=3.0"),
        (["mine", "--set", "smooth={"], 1, "ERROR: --set smooth={: '{' is not YAML"),
        (["dice+mine"], 1, "ERROR: dice+mine is a sum; check one loss at a time: dice, mine"),
        (["mein"], 1, "did you mean mine?"),
    ):
        done = CliRunner().invoke(app, ["losses", "check", *arguments])
        assert done.exit_code == code and text in done.output, (arguments, done.output)


def test_by_design_that_names_no_check_is_an_error(write: Write) -> None:
    write("mine.py", HEAD + RIGHT.replace("@loss", "@loss(by_design={'batch': 'small'})"))
    with pytest.raises(InputError, match=r"plugins/mine\.py:17: by_design is {'batch': 'small'}; it must give"):
        check_loss("mine")


def test_file_that_cannot_be_imported_is_an_error_of_one_line(write: Write) -> None:
    write("mine.py", "import torch\ntorsh.no\n")
    done = CliRunner().invoke(app, ["losses", "check", "mine"])
    assert done.exit_code == 1 and len(done.output.splitlines()) == 1 and "plugins/mine.py:2: NameError" in done.output


def test_cards_are_drawn_beside_a_plug_in_that_has_none(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losslab.losses.registry.LOSSES", {"bce": LOSSES["bce"]})
    write(
        "mine.py",
        HEAD + RIGHT.replace("def mine(", "def own(").replace("    return", '    """In `code`."""\n    return'),
    )
    write("other.py", HEAD + BROKEN["detached gradient"][2])
    done = CliRunner().invoke(app, ["losses", "--cards"])
    assert done.exit_code == 1 and done.output.splitlines()[-2] == "wrote reports/losses.html"
    assert done.output.splitlines()[-1].startswith("ERROR: mine has no card: RuntimeError: element 0 of tensors")
    assert done.output.rstrip().endswith("(see losslab losses check mine)")
    page = Path("reports/losses.html").read_text(encoding="utf-8")
    assert re.findall(r'<section class="card" id="(\w+)">', page) == ["bce", "own"]
    own = page.partition('<section class="card" id="own">')[2]
    assert "<p>In <code>code</code>.</p>" in own and 'href=""' not in own and "formula" not in own


def test_docs_say_what_each_check_is() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \|", (ROOT / "docs/reference/loss-checks.md").read_text(encoding="utf-8"), re.M)
    assert {check.name for check in CHECKS} <= {name for row in rows for name in row.split(", ")}
