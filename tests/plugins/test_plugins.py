"""Losses and nets of a project's own: found without an import, checked like losslab's, and named where they are wrong."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from losslab import models
from losslab.cards import Card
from losslab.cli import app
from losslab.data.loading.augmentation import build_augmentation
from losslab.data.readers import read_layout
from losslab.errors import InputError
from losslab.losses import available, build_loss
from losslab.losses.parsed_loss import parse_loss
from losslab.losses.registry import find_loss
from losslab.metrics.plugin_metric import load_metric
from losslab.models.cost import measure_arch_cost
from losslab.models.probe import find_fault
from losslab.params import Params, check_params
from losslab.plugins import loading, manifest
from losslab.plugins.manifest import find_plugins
from losslab.plugins.usage import check_usage, describe_usage, get_usage_path
from tests.conftest import ROOT, TINY_CARD, merge

BRIER = '''
from typing import Annotated, Literal
from pydantic import Field
from losslab.plugins import loss

@loss(paper="Brier 1950", partner="dice+brier")
def brier(probabilities, one_hot, valid, *, power: Annotated[float, Field(gt=0)] = 2.0, over: Literal["all", "one"] = "all"):
    """Error of the probabilities, to a power."""
    error = (probabilities - one_hot).abs() ** power
    return error.sum() / (valid.sum() * probabilities.shape[1]).clamp(min=1)
'''
ABSOLUTE = '''
import torch
from losslab.losses.base import Loss, masked_mean
from losslab.losses.options import Options
from losslab.plugins import loss

@loss
class absolute(Loss):
    """Absolute error."""
    class Options(Options):
        scale: float = 1.0
    def __init__(self, num_classes, ignore_index, scale):
        super().__init__(num_classes, ignore_index)
        self.scale = scale
    def compute(self, batch):
        return self.scale * masked_mean((batch.probabilities() - batch.one_hot()).abs(), batch.valid.unsqueeze(1))
'''
PIXEL = '''
from torch import nn
from losslab.plugins import net
from channels import HIDDEN

@net(stride=8, source="ours")
def pixel(in_channels, num_classes):
    """Two convolutions of a pixel."""
    return nn.Sequential(nn.Conv2d(in_channels, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, num_classes, 1))
'''
REST = """
from losslab.plugins import Sample, metric, reader

@metric
def share(hit, truth, *, power: int = 1):
    return (hit / truth) ** power

@reader
def cases(folder):
    yield Sample("case", folder / "i.png", folder / "m.png")
"""
LOGITS, TARGET = torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 1], [255, 0]]])


def test_loss_of_a_function_is_used_by_name_like_any_other(write: Callable[[str, str], Path]) -> None:
    write("brier.py", BRIER)
    assert available()[-1] == "brier"
    spec = find_loss("brier")
    assert (spec.kind, spec.summary, spec.paper) == ("plug-in", "Error of the probabilities, to a power.", "Brier 1950")
    assert spec.defaults == {"power": 2.0, "over": "all"} and spec.expression == "dice+brier"
    loss = build_loss("brier", 2, ignore_index=255)
    assert loss(LOGITS, TARGET).item() == pytest.approx(0.25)  # an error of 1/2 in each class of three valid pixels
    assert build_loss("0.5*brier+dice", 2, 255, options={"power": 1.0}).compute_terms(LOGITS, TARGET)["brier"] == 0.5
    with pytest.raises(InputError, match=r"loss_options\.power is 0\.0 \(brier\); it must be greater than 0"):
        parse_loss("brier", {"power": 0.0})
    with pytest.raises(InputError, match=r"loss_options\.brier\.over is 'two' \(brier\); it must be 'all' or 'one'"):
        parse_loss("brier", {"brier": {"over": "two"}})
    with pytest.raises(
        InputError, match=r"brier has no such option; available: brier: power, over; did you mean power"
    ):
        parse_loss("brier", {"powr": 1.0})


@pytest.mark.parametrize("path", ["docs/how-to/plugins.md", "plugins/README.md"])
def test_examples_of_the_docs_are_plug_ins(write: Callable[[str, str], Path], path: str) -> None:
    for index, text in enumerate((ROOT / path).read_text(encoding="utf-8").split("```python\n")[1:]):
        write(f"example_{index}.py", text.partition("```")[0])
    found = find_plugins()
    assert found.errors == () and "brier" in found.select("loss")
    assert build_loss("0.5*dice+brier", 2, 255, options={"power": 1.5})(LOGITS, TARGET).item() > 0
    for name in found.select("net"):
        assert models.build_model(name, 3)(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5, 7)


def test_none_of_two_plug_ins_of_one_name_is_used(write: Callable[[str, str], Path]) -> None:
    write("brier.py", BRIER)
    write("copy.py", BRIER)
    assert not find_plugins().select("loss")
    with pytest.raises(
        InputError, match=r"plugins/copy\.py:6: brier is a loss of plugins/brier\.py:6 too: rename one; loss: no"
    ):
        find_loss("brier")


def test_wrong_plug_in_hides_no_other_of_its_file(write: Callable[[str, str], Path]) -> None:
    write("both.py", f"{BRIER}\n@loss\ndef Wrong(target): ...\n")
    assert list(find_plugins().select("loss")) == ["brier"] and "'Wrong' is no name" in find_plugins().errors[0]


def test_loss_of_a_class_has_its_own_options(write: Callable[[str, str], Path]) -> None:
    write("absolute.py", ABSOLUTE)
    assert find_loss("absolute").defaults == {"scale": 1.0}
    assert build_loss("absolute", 2, 255, options={"scale": 3.0})(LOGITS, TARGET).item() == pytest.approx(
        3.0
    )  # 3 x (1/2 + 1/2)


def test_commands_list_plug_ins_and_name_what_is_wrong_with_one(write: Callable[[str, str], Path]) -> None:
    write("brier.py", BRIER)
    listed = CliRunner().invoke(app, ["losses"])
    assert listed.exit_code == 0 and "brier " in listed.output and "power=2 over=all" in listed.output
    write("broken.py", "import torch\ntorsh.no\n")
    listed = CliRunner().invoke(app, ["losses", "--json"])
    assert listed.exit_code == 1 and '"name": "brier"' in listed.output
    assert "ERROR: plugins/broken.py:2: NameError: name 'torsh' is not defined" in listed.output


def test_manifest_is_made_by_another_process_once_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/brier.py").write_text(BRIER)
    assert set(find_plugins().select("loss")) == {"brier"} and "losslab_plugins.brier" not in sys.modules
    manifest._describe_folder.cache_clear()
    monkeypatch.setattr(manifest, "_start_description", lambda *paths: pytest.fail("described again"))
    assert set(find_plugins().select("loss")) == {"brier"}
    (tmp_path / "plugins/brier.py").write_text(BRIER.replace("def brier", "def briar"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert set(find_plugins().select("loss")) == {"briar"}
    (tmp_path / "plugins/brier.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(InputError, match=r"^plugins: importing its files ended the process: exit code 3"):
        find_plugins()


FAULTS: list[Any] = [
    ("x = (", r"2: SyntaxError: '\(' was never closed$"),
    ("import nowhere", r"2: ModuleNotFoundError: No module named 'nowhere'$"),
    (
        "\n@loss\ndef own(predicted, target): ...",
        r"3: own takes predicted; a loss takes logits, probabilities, target, ",
    ),
    (
        "@loss(papper='x')\ndef own(target): ...",
        r"2: @loss takes no papper; it takes name, paper, .*; did you mean paper\?",
    ),
    ("@net(stride='8')\ndef own(): ...", r"2: stride of @net is '8'; it must be of type int$"),
    ("@loss\ndef own(target, power=2.0): ...", r"2: own takes power; a loss takes .* by name, and options after \*$"),
    (
        "@net\nclass own:\n    def __init__(self, num_classes, width=3): ...",
        r"2: own takes width; a net takes num_classes",
    ),
    ("@augmentation\ndef own(color): ...", r"2: own takes color; an augmentation takes fill, void by name"),
    ("def own(target): ...", r" it defines no plug-in; write a decorator, such as @loss, before the function$"),
    ("@loss\ndef own(target, *, power: float): ...", r"2: option power of own has no default; give it one$"),
    ("@loss\ndef own(target, *, power=None): ...", r"2: option power of own has no type; write it after a colon$"),
    (
        "@net\ndef own(*, size: int = 3): ...",
        r"2: option size of own: DVC's run cache overlooks keys of that name; rename it$",
    ),
    (
        "@loss\ndef own(target, *, power: float = 'x'): ...",
        r"2: the defaults of own: power is 'x'; it must be a number",
    ),
    ("@loss\ndef Own(target): ...", r"2: 'Own' is no name for a loss; use small letters, digits and _$"),
    ("@loss\nclass own: ...", r"2: class own has no compute\(batch\); derive it from losslab\.losses\.base\.Loss$"),
    ("@net\ndef own(classes): ...", r"2: own takes classes; a net takes num_classes, in_channels by name, and options"),
    (
        "@loss\ndef a(target): ...\n@loss(name='a')\ndef b(target): ...",
        r"4: a is a loss of plugins/own\.py:2 too: rename one$",
    ),
]


@pytest.mark.parametrize(("text", "line"), FAULTS)
def test_fault_of_a_file_is_named_with_its_line(write: Callable[[str, str], Path], text: str, line: str) -> None:
    write("own.py", f"from losslab.plugins import augmentation, loss, net\n{text}\n")
    (error,) = find_plugins().errors
    assert re.match(rf"plugins/own\.py:{line}", error), error
    with pytest.raises(InputError, match=r"^plugins/own\.py:.*; loss: no such loss: 'mine' in 'mine' "):
        parse_loss("mine", {})


def test_name_of_losslabs_is_refused(write: Callable[[str, str], Path]) -> None:
    write(
        "own.py",
        "from losslab.plugins import loss, net\n@loss\ndef dice(target): ...\n@net\ndef unet(num_classes): ...\n",
    )
    with pytest.raises(InputError, match=r"plugins/own\.py:2: dice is a loss of losslab; give yours another name"):
        parse_loss("dice", {})
    with pytest.raises(InputError, match=r"plugins/own\.py:4: unet is a net of losslab; give yours another name"):
        models.registry.find_arch("unet")
    assert parse_loss("bce", {}).terms


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "return probabilities.mean((1, 2, 3))",
            r"plugins/own\.py:2: own returned a tensor of shape \[1\]; a loss returns",
        ),
        ("return 1.0", r"plugins/own\.py:2: own returned float; a loss returns a float tensor without dimensions"),
        ("return (target == 1).sum()", r"plugins/own\.py:2: own returned a tensor of shape \[\]"),
        ("\n    return probabilities @ target", r"plugins/own\.py:5: RuntimeError: expected"),
    ],
)
def test_fault_while_a_loss_runs_is_named(write: Callable[[str, str], Path], body: str, line: str) -> None:
    write("own.py", f"from losslab.plugins import loss\n@loss\ndef own(probabilities, target):\n    {body}\n")
    with pytest.raises(InputError, match=line):
        build_loss("own", 2, 255)(LOGITS, TARGET)


def test_net_takes_images_of_any_size_and_is_saved_and_loaded(write: Callable[[str, str], Path]) -> None:
    write("channels.py", "HIDDEN = 4\n")
    write("pixel.py", PIXEL)
    net = models.build_model("pixel", 3)
    assert net(torch.zeros(1, 3, 13, 21)).shape == (1, 3, 13, 21) and net.stride == 8
    six = models.build_model("pixel", 3, in_channels=6)
    assert six(torch.zeros(1, 6, 13, 21)).shape == (1, 3, 13, 21) and find_fault(six, 13) is None
    assert models.available()[-1] == "pixel" and measure_arch_cost("pixel", 64, 3, "resnet18").source == "ours"
    with pytest.raises(InputError, match="encoder is 'resnet18', but arch pixel takes none"):
        models.build_model("pixel", 3, "resnet18")


WIDE = """
from typing import Annotated
from pydantic import AfterValidator, Field
from torch import nn
from losslab.plugins import net

def refuse_odd(value):
    if value % 2:
        raise ValueError("even")
    return value

@net(stride=1)
class wide(nn.Sequential):
    def __init__(self, num_classes, in_channels, *, width: Annotated[int, Field(gt=0), AfterValidator(refuse_odd)] = 4):
        super().__init__(nn.Conv2d(in_channels, width, 1), nn.Conv2d(width, num_classes, 1))
"""


def test_net_has_options(write: Callable[[str, str], Path], tiny_params: Params, tmp_path: Path) -> None:
    write("wide.py", WIDE)
    content = merge(
        tiny_params.model_dump(),
        {"dataset": "synthetic_lesions", "arch": "wide", "encoder": None, "arch_options": {"width": 6}},
    )
    assert check_params(content, "params.yaml", ROOT / "data/catalog").arch_options == {"width": 6}
    for options, line in [
        ({"width": 0}, r"params\.yaml: arch_options: width is 0; it must be greater than 0"),
        ({"widht": 4}, r"arch_options: widht: unknown key; allowed here: width; did you mean width\?"),
    ]:
        content["arch_options"] = options
        with pytest.raises(InputError, match=line):
            check_params(content, "params.yaml", ROOT / "data/catalog")
    with pytest.raises(InputError, match=r"plugins/wide\.py: width: even"):
        models.build_model("wide", 2, options={"width": 3})
    net = models.build_model("wide", 2, options={"width": 6})
    assert [p.shape[0] for p in net.parameters()] == [6, 6, 2, 2]
    about: dict[str, Any] = {
        "arch": "wide",
        "encoder": None,
        "num_classes": 2,
        "classes": ["a", "b"],
        "palette": [[0, 0, 0], [9, 9, 9]],
    }
    about |= {"ignore_index": 255, "size": 8, "fit": "stretch", "mean": [0.0] * 3, "std": [1.0] * 3}
    about |= {"precision": "32-true", "run": {"train": {"device": "cpu"}}, "arch_options": {"width": 6}}
    models.save(tmp_path / "saved", net, about)
    loaded, _ = models.load(tmp_path / "saved")
    assert torch.equal(loaded(torch.ones(1, 3, 5, 5)), net.eval()(torch.ones(1, 3, 5, 5)))
    costs = [measure_arch_cost("wide", 8, 2, None, options).parameters for options in ({}, {"width": 6})]
    assert costs == [26, 38]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("return 3", r"own\.py: own returned int; a net is a torch\.nn\.Module"),
        (
            "return nn.Conv2d(in_channels, 7, 1)",
            r"own\.py: own gave \[1, 7, 32, 64\] for images \[1, 3, 32, 64\]; its logits must",
        ),
        ("return nn.Conv2d(in_channels, num_classes, 2)", r"own\.py: own gave \[1, 2, 31, 63\] for images"),
        ("return nn.Linear(3, 2)", r"own\.py: RuntimeError: .*mat1 and mat2 shapes"),
        ("return nn.Conv3d()", r"own\.py:5: TypeError: .*in_channels"),
    ],
)
def test_fault_of_a_net_is_named(write: Callable[[str, str], Path], body: str, line: str) -> None:
    write(
        "own.py",
        f"from torch import nn\nfrom losslab.plugins import net\n@net\ndef own(num_classes, in_channels):\n    {body}\n",
    )
    with pytest.raises(InputError, match=line):
        models.build_model("own", 2)


TURNED = """
import albumentations as A
from losslab.plugins import augmentation

@augmentation
def turned(fill):
    return [A.Rotate(limit=(90, 90), p=1.0, fill=fill)]
"""


def test_recipe_is_used_by_name(write: Callable[[str, str], Path], tiny_params: Params) -> None:
    write("turned.py", TURNED)
    picture = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(8, 8, 3)
    changed = build_augmentation("turned", (1, 2, 3), 255)(image=picture, mask=picture[..., 0])  # type: ignore[misc]
    assert np.array_equal(changed["mask"], np.rot90(picture[..., 0]))
    content = merge(tiny_params.model_dump(), {"dataset": "synthetic_lesions", "train": {"augmentation": "turned"}})
    params = check_params(content, "params.yaml", ROOT / "data/catalog")
    assert set(json.loads(describe_usage(params.model_dump())["train"])) == {"augmentation turned"}
    content["train"]["augmentation"] = "tuned"
    with pytest.raises(
        InputError, match=r"train\.augmentation: 'tuned' is not one of none, .*, turned; did you mean turned\?"
    ):
        check_params(content, "params.yaml", ROOT / "data/catalog")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("return 3", r"own\.py:3: own returned int; a recipe is a list of albumentations"),
        (
            "return [A.Resize(32, 64)]",
            r"own\.py:3: own makes images of uint8 \[32, 64, 3\] of uint8 \[64, 64, 3\]; a recipe",
        ),
        ("return [A.ToFloat()]", r"own\.py:3: own makes images of float32"),
        ("return [A.Nothing()]", r"own\.py:5: AttributeError: module 'albumentations' has no attribute 'Nothing'"),
    ],
)
def test_fault_of_a_recipe_is_named(write: Callable[[str, str], Path], body: str, line: str) -> None:
    write(
        "own.py", f"import albumentations as A\nfrom losslab.plugins import *\n@augmentation\ndef own():\n    {body}\n"
    )
    with pytest.raises(InputError, match=line):
        build_augmentation("own", (0, 0, 0), 255)


def test_stages_depend_on_the_plug_ins_that_a_run_uses_and_what_they_import(write: Callable[[str, str], Path]) -> None:
    write("brier.py", BRIER)
    write("channels.py", "HIDDEN = 4\n")
    write("pixel.py", PIXEL)
    plain = describe_usage({"loss": "dice+1e-2*bce", "arch": "unet"})
    assert set(plain.values()) == {"{}\n"}
    used = describe_usage({"loss": "dice+0.1*brier", "arch": "pixel"})
    assert set(json.loads(used["train"])) == {"loss brier", "net pixel"} and set(json.loads(used["evaluate"])) == {
        "net pixel"
    }
    write("absolute.py", ABSOLUTE)
    assert describe_usage({"loss": "dice+0.1*brier", "arch": "pixel"}) == used
    write("channels.py", "HIDDEN = 5\n")
    changed = describe_usage({"loss": "brier", "arch": "pixel"})
    assert changed["evaluate"] != used["evaluate"]
    assert describe_usage({"loss": "brier", "arch": "unet"})["evaluate"] == "{}\n"


def test_stage_refuses_a_plug_in_that_is_not_the_one_recorded(write: Callable[[str, str], Path]) -> None:
    params = {"loss": "brier", "arch": "unet"}
    path = write("brier.py", BRIER)
    record = get_usage_path("train")
    record.parent.mkdir(parents=True)
    record.write_text(describe_usage(params)["train"])
    check_usage("train", params)
    build_loss("brier", 2)
    write_later = path.read_text().replace("2.0", "3.0")
    path.write_text(write_later)
    check_usage("train", params)  # what was imported is what was recorded
    write("brier.py", write_later)
    with pytest.raises(
        InputError, match="loss brier is not what it was when the stage plugins ran: run dvc repro again"
    ):
        check_usage("train", params)
    build_loss("brier", 2)
    with pytest.raises(
        InputError, match=r"plugins/brier\.py changed before this stage imported it: run dvc repro again"
    ):
        check_usage("train", params)


def test_stage_refuses_a_helper_that_is_not_the_one_recorded(write: Callable[[str, str], Path]) -> None:
    params = {"loss": "dice", "arch": "pixel"}
    write("pixel.py", PIXEL.replace("from channels", "from _channels"))
    helper = write("_channels.py", "HIDDEN = 4\n")
    record = get_usage_path("train")
    record.parent.mkdir(parents=True)
    record.write_text(describe_usage(params)["train"])
    check_usage("train", params)
    write("_channels.py", "HIDDEN = 5\n")
    assert measure_arch_cost("pixel", 8, 2, None).parameters == 32  # with 5 channels, of which no record tells
    helper.write_text("HIDDEN = 4\n")
    with pytest.raises(
        InputError, match=r"^plugins/_channels\.py changed before this stage imported it: run dvc repro"
    ):
        check_usage("train", params)
    assert not [*helper.parent.glob("__pycache__")]  # Python takes another file of this size and second for the same


def test_helper_that_no_record_can_know_is_refused(write: Callable[[str, str], Path]) -> None:
    params = {"loss": "dice", "arch": "pixel"}
    write("_channels.py", "HIDDEN = 4\n")
    write(
        "pixel.py",
        PIXEL.replace(
            "from channels import HIDDEN", "HIDDEN = __import__('importlib').import_module('_channels').HIDDEN"
        ),
    )
    record = get_usage_path("train")
    record.parent.mkdir(parents=True)
    record.write_text(describe_usage(params)["train"])
    with pytest.raises(InputError, match=r"^plugins/_channels\.py .* write `import _channels`"):
        check_usage("train", params)


def test_package_names_its_plug_ins_as_entry_points(
    write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/brier_losses.py").write_text(BRIER + REST)
    about = tmp_path / "site/brier_losses-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brier-losses\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[losslab.plugins]\nbrier = brier_losses\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    manifest._describe_folder.cache_clear()
    assert find_loss("brier").target == "brier_losses:brier"
    assert build_loss("brier", 2)(LOGITS, TARGET.clamp(max=1)).item() == pytest.approx(0.25)
    used = describe_usage({"loss": "brier", "arch": "unet"})["train"]
    assert json.loads(used) == {"loss brier": "brier-losses==1.2"}
    assert load_metric("share", {}).describe()["code"] == "brier-losses==1.2"
    assert (
        load_metric("share", {"power": 2}).score_classes(dict.fromkeys(("hit", "truth", "predicted"), np.ones(2))).sum()
        == 2
    )
    card = Card(**(TINY_CARD | {"layout": "cases"}))
    (tmp_path / "raw").mkdir()
    for name in ("i.png", "m.png"):
        (tmp_path / "raw" / name).touch()
    assert [sample.name for sample in read_layout(card, tmp_path / "raw").samples] == ["case"]
    used = describe_usage({"loss": "dice", "arch": "unet", "evaluate": {"metrics": {"share": {}}}})["evaluate"]
    assert json.loads(used) == {"metric share": "brier-losses==1.2"}
    assert loading.LOADED == {}
