"""The three file formats: how each is written, and how it is run again."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.export.deployable import DeployableNet, TraceableNet
from losslab.models.segmentation_net import SegmentationNet

FormatName = Literal["onnx", "torchscript", "torch_export"]
Varies = Literal["batch and size", "batch", "nothing"]
Floats = npt.NDArray[np.float32]
NetFunction = Callable[[Floats], Floats]
CARD = "losslab.json"
"""Under this name the card lies in each file: among ONNX's metadata_props, TorchScript's and torch.export's extra files."""
SUFFIXES: dict[FormatName, str] = {"onnx": ".onnx", "torchscript": ".ts", "torch_export": ".pt2"}
LARGEST = 32768
"""Pixels a side that a torch.export program takes."""


def write_net(
    format_name: FormatName,
    path: Path,
    net: SegmentationNet,
    card: Mapping[str, Any],
    size: int,
    varies: Varies,
) -> None:
    """Write the net as one file. What an exporter raises where it cannot is anything at all."""
    with silence_exporters(), torch.no_grad():
        if format_name == "torchscript":
            _write_torchscript(path, net, card, size, varies)
        else:
            program = _captured(net, card, size, varies)
            (_write_onnx if format_name == "onnx" else _write_torch_export)(path, program, card)


def read_net(format_name: FormatName, path: Path) -> NetFunction:
    """The file as a function: images float32 `[N, 3, H, W]` → logits, on the CPU, as its users would run it."""
    with silence_exporters():
        if format_name == "onnx":
            return _onnx(path)
        loaded = (
            torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            if format_name == "torchscript"
            else torch.export.load(path).module()
        )
    return lambda images: _run_torch(loaded, images)


def read_metadata(format_name: FormatName, path: Path) -> dict[str, Any]:
    """What `write_net` put in beside the net."""
    extra = {CARD: ""}
    with silence_exporters():
        if format_name == "onnx":
            import onnx

            properties = onnx.load(path, load_external_data=False).metadata_props
            extra = {entry.key: entry.value for entry in properties}
        elif format_name == "torchscript":
            torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        else:
            torch.export.load(path, extra_files=extra)
    found: dict[str, Any] = json.loads(extra[CARD])
    return found


def find_smallest_side(net: SegmentationNet) -> int:
    """Of images of varying size: exporters treat a feature map of one pixel as another net."""
    return net.stride + 1


@contextlib.contextmanager
def silence_exporters() -> Iterator[None]:
    """Without what exporters say about themselves."""
    disabled = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


def _example(net: SegmentationNet, size: int, varies: Varies) -> Tensor:
    """Of a shape without chance equalities, from which an exporter would conclude what need not hold."""
    if varies == "batch and size":
        side = max(size, net.smallest, net.stride)
        return torch.rand(2, 3, side + net.stride // 2 - 1, side + 2 * net.stride - 1) * 255
    return torch.rand(1 if varies == "nothing" else 2, 3, size, size) * 255


def _captured(net: SegmentationNet, card: Mapping[str, Any], size: int, varies: Varies) -> torch.export.ExportedProgram:
    free: dict[int, torch.export.Dim] = {}
    if varies != "nothing":
        free[0] = torch.export.Dim("batch", min=1)
    if varies == "batch and size":
        for axis, name in ((2, "height"), (3, "width")):
            free[axis] = torch.export.Dim(name, min=find_smallest_side(net), max=LARGEST)
    return torch.export.export(
        DeployableNet(net, card["mean"], card["std"]),
        (_example(net, size, varies),),
        dynamic_shapes={"images": free},
        # What cannot be proved of all sizes is checked of the one that comes.
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def _write_torch_export(path: Path, program: torch.export.ExportedProgram, card: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={CARD: json.dumps(card)})


def _write_torchscript(path: Path, net: SegmentationNet, card: Mapping[str, Any], size: int, varies: Varies) -> None:
    traceable = TraceableNet(net, card["mean"], card["std"])
    traced = torch.jit.trace(traceable, (_example(net, size, varies),), check_trace=False)  # type: ignore[no-untyped-call]
    traced.save(str(path), _extra_files={CARD: json.dumps(card)})


def _write_onnx(path: Path, program: torch.export.ExportedProgram, card: Mapping[str, Any]) -> None:
    written = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"], external_data=False
    )
    if written is None:
        raise RuntimeError("the exporter returned nothing")
    model = written.model_proto
    del model.graph.value_info[:]  # shapes between the layers, in names that torch made up
    (images,), (logits,) = model.graph.input, model.graph.output
    names = dict(enumerate(("batch", None, "height", "width")))
    for tensor in (images, logits):
        for axis, dim in enumerate(tensor.type.tensor_type.shape.dim):
            if dim.dim_param and names[axis] is not None:
                dim.dim_param = str(names[axis])
    model.producer_name = "losslab"
    del model.metadata_props[:]
    model.metadata_props.add(key=CARD, value=json.dumps(card))
    images.doc_string, logits.doc_string, model.graph.doc_string = card["input"], card["output"], card["label"]
    path.write_bytes(model.SerializeToString(deterministic=True))


def _onnx(path: Path) -> NetFunction:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Floats) -> Floats:
        (logits,) = session.run(["logits"], {"images": images})
        return np.asarray(logits, np.float32)

    return run


def _run_torch(loaded: Callable[[Tensor], Tensor], images: Floats) -> Floats:
    with silence_exporters(), torch.no_grad():
        return loaded(torch.from_numpy(images)).numpy()
