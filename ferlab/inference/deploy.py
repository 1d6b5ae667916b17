"""A trained model -> an ONNX file that takes uint8 faces and gives probabilities, and what it answers there.

write(model, Path("model.onnx")); answers = run(session(Path("model.onnx")), faces)
"""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ferlab.data.rafdb import NAME, WEIGHTS_LICENCE
from ferlab.errors import UserError
from ferlab.inference.predictor import answer
from ferlab.training.augment import apply
from ferlab.training.summary import commit
from models import Model

INSTALL = "pip install onnx onnxscript onnxruntime"
OPSET = 18


class Deployed(nn.Module):
    """uint8 faces (N, 3, 100, 100) -> probabilities (N, C): preprocessing, network, temperature, softmax."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, faces: Tensor) -> Tensor:
        return answer(self.model, faces)


def check_installed() -> None:
    """Raise UserError where a package that ONNX files need is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"an ONNX file needs {error.name}, which is not installed: {INSTALL}") from None


def write(model: Model, path: Path) -> None:
    """Write the ONNX file: input `faces` uint8 (N, 3, 100, 100), any N, output `probabilities` (N, C), and
    metadata (model, classes, data, licence, commit). The model must be on the CPU and in eval mode.
    """
    import onnx

    faces = torch.zeros(2, 3, 100, 100, dtype=torch.uint8)
    apply(faces, model.built["image_size"])  # makes the constants that it keeps: tracing could not
    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Deployed(model), (faces,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},),
            input_names=["faces"], output_names=["probabilities"], opset_version=OPSET, verbose=False,
        )  # fmt: skip
    network = program.model_proto
    onnx.helper.set_model_props(network, about(model))
    onnx.checker.check_model(network)
    onnx.save(network, path)


def about(model: Model) -> dict[str, str]:
    """What the file says of itself."""
    data = getattr(model, "checkpoint", {}).get("data", "nothing")
    licence = WEIGHTS_LICENCE if data == NAME else "as the training data's"
    return {
        "model": model.built["name"],
        "class_names": json.dumps(getattr(model, "class_names", [])),
        "input": "faces: uint8 RGB (N, 3, 100, 100), aligned as RAF-DB's",
        "output": "probabilities: float32 (N, C), in class_names' order",
        "trained_on": data,
        "licence": licence,
        "commit": commit() or "",
    }


def quantize(path: Path, target: Path, faces: Tensor) -> None:
    """Write `path` with 8-bit weights and activations, whose ranges come from some uint8 faces."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(faces.split(16))

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {"faces": batch.numpy()}

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # its advice to run a preprocessing that changes nothing here
    try:
        quantize_static(
            path, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        )  # fmt: skip
    finally:
        root.setLevel(level)


def session(path: Path, threads: int = 0):
    """The file in onnxruntime on the CPU; threads 0: one a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def run(ready, faces: Tensor, *, batch: int = 256) -> np.ndarray:
    """float32 (N, C): what the session answers to uint8 faces (N, 3, 100, 100)."""
    return np.concatenate([ready.run(None, {"faces": part.numpy()})[0] for part in faces.split(batch)])
