"""What was run: everything that decides the numbers, nothing that depends on the machine."""

from pathlib import PurePath

from losslab.formats import format_count
from losslab.io.files import JsonObject
from losslab.reporting.run.outs import ReportInputs

OF_THE_MACHINE = ("precision", "device", "devices", "nodes", "strategy", "workers")


def describe_net(model: JsonObject) -> str:
    encoder = model["run"]["encoder"]
    return f"{model['arch']}-{encoder}" if encoder else str(model["arch"])


def build_facts(outs: ReportInputs) -> dict[str, str]:
    """The few that a reader looks for first."""
    model, run = outs.model, outs.model["run"]
    images = ", ".join(f"{format_count(number)} {split}" for split, number in outs.audit["images"].items())
    found = {
        "dataset": f"{outs.dataset.get('title', run['dataset'])} ({run['dataset']})",
        "images": images,
        "classes": ", ".join(outs.classes),
        "loss": _with_options(run["loss"], run["loss_options"]),
        "net": describe_net(model),
        "encoder weights": _weights(model) if run["encoder"] else "",
        "parameters": format_count(model["parameters"]),
        "size": f"{model['size']} × {model['size']} pixels, {model['fit']}",
        "scored at": _scoring(outs.evaluation),
        "epochs": f"{len(outs.history)} of {run['train']['epochs']}; kept is epoch {outs.history[outs.kept]['epoch']}",
        "seed": str(run["seed"]),
        "precision": model["precision"],
        "data version": model["data_md5"],
    }
    return {name: value for name, value in found.items() if value}


def build_settings(model: JsonObject) -> dict[str, str]:
    """All of params.yaml's train section."""
    train = model["run"]["train"]
    return {name: _told(value) for name, value in train.items() if name not in OF_THE_MACHINE}


def _weights(model: JsonObject) -> str:
    """Of a file its name and the start of its hash: where it lies is of the machine."""
    weights, digest = model["run"]["encoder_weights"], model["encoder_weights_sha256"]
    return f"{PurePath(weights).name}, sha256 {digest[:12]}…" if digest else weights or "from scratch"


def _scoring(how: JsonObject) -> str:
    size = {"prepared": "the prepared size", "original": "the size of the files"}[how["resolution"]]
    views = {"none": "", "flip": ", mean over mirror images", "flip_scale": ", mean over mirror images and three sizes"}
    return size + views[how["tta"]]


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items()) or "none"
    return "none" if value is None else str(value)


def _with_options(loss: str, options: JsonObject) -> str:
    return f"{loss} ({_told(options)})" if options else loss


def build_title(outs: ReportInputs) -> str:
    return f"{outs.model['run']['loss']} with {describe_net(outs.model)} on {outs.model['run']['dataset']}"
