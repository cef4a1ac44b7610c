"""The section on the run: everything that decides its numbers, and nothing that depends on the machine."""

from pathlib import PurePath

from losslab.bands import read_bands
from losslab.formats import format_count, format_percent
from losslab.io.files import JsonObject
from losslab.reporting.run.inputs import ReportInputs
from losslab.reporting.run.sections.ensemble import name_subject

MACHINE_SETTINGS = ("precision", "device", "devices", "nodes", "strategy", "workers")


def describe_net(model: JsonObject) -> str:
    encoder, options = model["run"]["encoder"], model.get("arch_options")
    net = f"{model['arch']}-{encoder}" if encoder else str(model["arch"])
    return f"{net} ({_format_value(options)})" if options else net


def build_facts(outs: ReportInputs) -> dict[str, str]:
    """List the facts that a reader looks for first."""
    model, run = outs.model, outs.model["run"]
    kept = outs.history[outs.kept]["epoch"]
    facts = {
        "dataset": f"{outs.dataset.get('title', run['dataset'])} ({run['dataset']})",
        "images": ", ".join(f"{format_count(count)} {split}" for split, count in outs.audit["images"].items()),
        "classes": ", ".join(outs.classes),
        "loss": f"{run['loss']} ({_format_value(run['loss_options'])})" if run["loss_options"] else run["loss"],
        "net": describe_net(model),
        "encoder weights": _describe_weights(model) if run["encoder"] else "",
        "parameters": format_count(model["parameters"]),
        "first layer": model.get("first_layer", ""),
        "bands": _describe_bands(model),
        "size": _describe_size(model),
        "trained on": _describe_crops(outs),
        "scored at": _describe_scoring(outs.evaluation, model["fit"]),
        "epochs": f"{len(outs.history)} of {run['train']['epochs']}; the weights are those of epoch {kept}",
        "seed": str(run["seed"]),
        "precision": model["precision"],
        "data version": model["data_md5"],
    }
    return {name: value for name, value in facts.items() if value}


def build_settings(model: JsonObject) -> dict[str, str]:
    """List params.yaml's train section, without what depends on the machine."""
    train = model["run"]["train"]
    return {name: _format_value(value) for name, value in train.items() if name not in MACHINE_SETTINGS}


def _describe_weights(model: JsonObject) -> str:
    """Describe the weights; a file by its name and the start of its hash, for its folder depends on the machine."""
    weights, digest = model["run"]["encoder_weights"], model["encoder_weights_sha256"]
    return f"{PurePath(weights).name}, sha256 {digest[:12]}…" if digest else weights or "from scratch"


def _describe_bands(model: JsonObject) -> str:
    """Describe the bands with their ranges; an empty text for RGB of 8 bits."""
    if "bands" not in model:
        return ""
    bands = read_bands(model)
    ends = zip(bands.names, bands.low, bands.high, strict=True)
    ranges = ", ".join(f"{name} {low:g} to {high:g}" for name, low, high in ends)
    return f"{len(bands.names)} of {bands.dtype}: {ranges}{'; values beyond are clipped' if bands.clip else ''}"


def _describe_size(model: JsonObject) -> str:
    side = f"{model['size']} × {model['size']} pixels"
    return f"that of the files, shown in tiles of {side}" if model["fit"] == "tile" else f"{side}, {model['fit']}"


def _describe_crops(outs: ReportInputs) -> str:
    """Describe the crops of the kept epoch, and how many of them held each class; an empty text: there were none."""
    train, row = outs.model["run"]["train"], outs.history[outs.kept]
    if "crop" not in train:
        return ""
    shares = [f"{name} in {format_percent(float(row[f'crops_{name}']))} %" for name in outs.classes]
    return f"crops of {train['crop']} × {train['crop']} pixels, {train['sampling']}, which held {', '.join(shares)}"


def _describe_scoring(how: JsonObject, fit: str) -> str:
    size = {"prepared": "the prepared size", "original": "the original size"}[how["resolution"]]
    size = "the original size, tiles blended" if fit == "tile" else size
    views = {
        "none": "",
        "flip": ", mean over flipped images",
        "flip_scale": ", mean over flipped images and three sizes",
    }
    return size + views[how["tta"]]


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items()) or "none"
    return "none" if value is None else str(value)


def build_title(outs: ReportInputs) -> str:
    subject = name_subject(outs).removeprefix("the ")
    of = "" if subject == "net" else f"{subject[0].upper()}{subject[1:]}: "
    return f"{of}{outs.model['run']['loss']} with {describe_net(outs.model)} on {outs.model['run']['dataset']}"
