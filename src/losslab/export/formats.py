"""The three file formats: how each is written, and how it is run."""

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
VaryingAxes = Literal["batch and size", "batch", "nothing"]
Floats = npt.NDArray[np.float32]
NetFunction = Callable[[Floats], Floats]
METADATA_KEY = "losslab.json"
"""Name of the metadata in each file: a key of ONNX's metadata_props, an extra file of TorchScript and torch.export."""
SUFFIXES: dict[FormatName, str] = {"onnx": ".onnx", "torchscript": ".ts", "torch_export": ".pt2"}
MAX_SIDE_PX = 32768
"""Largest side that a torch.export program takes."""


def write_net(
    format_name: FormatName,
    path: Path,
    net: SegmentationNet,
    metadata: Mapping[str, Any],
    size: int,
    varies: VaryingAxes,
) -> None:
    """Write the net as one file; exporters raise exceptions of any kind if they cannot take a net."""
    with silence_exporters(), torch.no_grad():
        if format_name == "torchscript":
            _write_torchscript(path, net, metadata, size, varies)
        else:
            program = _capture_program(net, metadata, size, varies)
            (_write_onnx if format_name == "onnx" else _write_torch_export)(path, program, metadata)


def read_net(format_name: FormatName, path: Path) -> NetFunction:
    """Read the file as a function that runs on the CPU: images float32 `[N, B, H, W]` → logits `[N, C, H, W]`."""
    with silence_exporters():
        if format_name == "onnx":
            return _read_onnx(path)
        loaded = (
            torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            if format_name == "torchscript"
            else torch.export.load(path).module()
        )
    return lambda images: _run_torch(loaded, images)


def read_metadata(format_name: FormatName, path: Path) -> dict[str, Any]:
    """Read the metadata that `write_net` stored beside the net."""
    extra = {METADATA_KEY: ""}
    with silence_exporters():
        if format_name == "onnx":
            import onnx

            extra = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
        elif format_name == "torchscript":
            torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        else:
            torch.export.load(path, extra_files=extra)
    metadata: dict[str, Any] = json.loads(extra[METADATA_KEY])
    return metadata


def find_smallest_side(net: SegmentationNet) -> int:
    """Find the smallest side of images of varying size; exporters treat a feature map of one pixel as another net."""
    return net.stride + 1


@contextlib.contextmanager
def silence_exporters() -> Iterator[None]:
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


def _build_example(net: SegmentationNet, size: int, varies: VaryingAxes) -> Tensor:
    """Build images whose sides differ, since an exporter takes a chance equality for a rule."""
    if varies == "batch and size":
        side = max(size, net.smallest, net.stride)
        return torch.rand(2, net.in_channels, side + net.stride // 2 - 1, side + 2 * net.stride - 1) * 255
    return torch.rand(1 if varies == "nothing" else 2, net.in_channels, size, size) * 255


def _capture_program(
    net: SegmentationNet, metadata: Mapping[str, Any], size: int, varies: VaryingAxes
) -> torch.export.ExportedProgram:
    free: dict[int, torch.export.Dim] = {}
    if varies != "nothing":
        free[0] = torch.export.Dim("batch", min=1)
    if varies == "batch and size":
        for axis, name in ((2, "height"), (3, "width")):
            free[axis] = torch.export.Dim(name, min=find_smallest_side(net), max=MAX_SIDE_PX)
    return torch.export.export(
        DeployableNet(net, metadata),
        (_build_example(net, size, varies),),
        dynamic_shapes={"images": free},
        # Conditions that cannot be proved for all sizes are checked when an image comes.
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def _write_torch_export(path: Path, program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> None:
    packed = io.BytesIO()  # a file on a full disk makes torch end the process
    torch.export.save(program, packed, extra_files={METADATA_KEY: json.dumps(metadata)})
    path.write_bytes(packed.getbuffer())


def _write_torchscript(
    path: Path, net: SegmentationNet, metadata: Mapping[str, Any], size: int, varies: VaryingAxes
) -> None:
    traceable = TraceableNet(net, metadata)
    traced = torch.jit.trace(traceable, (_build_example(net, size, varies),), check_trace=False)  # type: ignore[no-untyped-call]
    path.write_bytes(traced.save_to_buffer(_extra_files={METADATA_KEY: json.dumps(metadata)}))


def _write_onnx(path: Path, program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> None:
    written = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"], external_data=False
    )
    if written is None:
        raise RuntimeError("the exporter returned nothing")
    model = written.model_proto
    del model.graph.value_info[:]  # shapes between layers, with names that torch makes up
    (images,), (logits,) = model.graph.input, model.graph.output
    for tensor in (images, logits):
        for name, dim in zip(("batch", "", "height", "width"), tensor.type.tensor_type.shape.dim, strict=True):
            if dim.dim_param and name:
                dim.dim_param = name
    model.producer_name = "losslab"
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(metadata))
    images.doc_string, logits.doc_string = metadata["input"], metadata["output"]
    model.graph.doc_string = metadata["label"]
    path.write_bytes(model.SerializeToString(deterministic=True))


def _read_onnx(path: Path) -> NetFunction:
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
