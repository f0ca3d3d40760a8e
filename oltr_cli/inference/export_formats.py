"""The two formats of an exported run, as bytes and back: .onnx for onnxruntime, .pt2 for ``torch.export.load``.

Both carry the description of the run under the key ``oltr``: ONNX among its metadata_props, .pt2 among its extra files.
"""

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from oltr_cli.errors import UsageProblem

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["onnx", "torch"]
Answer = Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]  # images (B, 3, S, S) → outputs by name

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
KEY = "oltr"  # of the description
INPUT, OUTPUTS = "images", ("logits", "confidence", "prediction", "features")
ONNX_LIMIT = 2**31 - 1  # largest protobuf message, in bytes


def require_packages(kind: Format) -> None:
    """Check that the packages of a format are installed.

    Raises:
        UsageProblem: packages are missing; the message says how to install them.
    """
    needed = ("onnx", "onnxscript") if kind == "onnx" else ()
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageProblem(
            f"--to onnx needs {' and '.join(missing)}: pip install {' '.join(needed)}; or use --to torch"
        )


def to_bytes(program: "ExportedProgram", kind: Format, about: dict[str, Any]) -> bytes:
    """The content of a file.

    Raises:
        UsageProblem: the weights are too large for the format.
    """
    text = json.dumps(about, ensure_ascii=False, allow_nan=False)
    with _quietly():
        return _torch_bytes(program, text) if kind == "torch" else _onnx_bytes(program, text)


def from_bytes(content: bytes, kind: Format) -> Answer | None:
    """The function in a file, run by its runtime; None if that is not installed."""
    if kind == "torch":
        with _quietly():
            module = torch.export.load(io.BytesIO(content)).module()
        return lambda images: {name: out.numpy() for name, out in module(torch.from_numpy(images)).items()}
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images}), strict=True))


def _torch_bytes(program: "ExportedProgram", text: str) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={KEY: text})
    return file.getvalue()


def _onnx_bytes(program: "ExportedProgram", text: str) -> bytes:
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size + len(text) > ONNX_LIMIT:
        raise UsageProblem(f"{size / 1e9:.1f} GB of weights are too large for an ONNX file; use --to torch")
    exported = torch.onnx.export(
        program, (), input_names=[INPUT], output_names=list(OUTPUTS), dynamo=True, verbose=False
    )
    assert exported is not None  # None is for exports to a file
    model = exported.model_proto
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]  # the exporter's notes on the origin of each
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = "batch"
    for node in graph.node:
        del node.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=text)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the exporters' warnings and log lines, which are meant for their developers."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
