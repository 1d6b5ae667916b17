"""A trained model to take away: one ONNX file, uint8 faces in, probabilities out, checked against torch.

python export.py results/ConvNet/seed0              # writes results/ConvNet/seed0/model.onnx
python export.py results/ConvNet/seed0 --int8       # and model-int8.onnx beside it

Needs: pip install onnx onnxscript onnxruntime. The check is on the whole test set of --data.
"""

import ferlab  # noqa: F401  before torch is loaded: it words what goes wrong then

# isort: split
import argparse
import os
import tempfile
from pathlib import Path

import torch

import models
from ferlab.data import download
from ferlab.data.rafdb import SIDE
from ferlab.errors import UserError, command
from ferlab.inference import deploy
from ferlab.inference.predictor import find, probabilities
from RAFDB_dataset import RAFDBDataset, open_source

TOLERANCE = 1e-3  # of a probability, fp32 against fp32
CALIBRATION = 256  # faces of val that set the ranges of the 8-bit activations


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder or its .pth")
    add("--output", type=Path, metavar="FILE", help="where to write it (default: model.onnx in the folder)")
    add("--int8", action="store_true", help="also write it with 8-bit weights and activations")
    add("--data", default="raf-db-dataset", help="folder or .zip of RAF-DB to check with, or synthetic")
    add("--overwrite", action="store_true", help="replace a file that already exists")
    return parser.parse_args()


@command
def main() -> None:
    args = arguments()
    checkpoint = find(args.run)
    output = args.output or checkpoint.with_name("model.onnx")
    targets = [output]
    if args.int8:
        targets.append(output.with_name(f"{output.stem}-int8{output.suffix}"))
    for path in targets:
        if path.exists() and not args.overwrite:
            raise UserError(f"{path} already exists; add --overwrite to replace it, or name --output.")
    if not output.parent.is_dir():
        raise UserError(f"the folder {output.parent} for --output does not exist; make it first.")
    deploy.check_installed()
    model = models.load(checkpoint)
    if not download.is_here(args.data):
        print(f"{args.data} is not here, so the check is on drawn faces.")
        args.data = "synthetic"
    source = open_source(args.data)
    if model.checkpoint["options"].get("face_size"):  # reduced again inside the network
        source = source.scaled(SIDE)
    test = RAFDBDataset(source, "test")
    expected = probabilities([model], test.images)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        temporary = [Path(folder) / path.name for path in targets]
        deploy.write(model, temporary[0])
        if args.int8:
            deploy.quantize(temporary[0], temporary[1], RAFDBDataset(source, "val").images[:CALIBRATION])
        for path, target in zip(temporary, targets):
            answers = torch.from_numpy(deploy.run(deploy.session(path), test.images))
            largest = (answers - expected).abs().max().item()
            equal = (answers.argmax(1) == expected.argmax(1)).sum().item()
            right = [(p.argmax(1) == test.labels).float().mean().item() for p in (answers, expected)]
            scored = f", accuracy {100 * right[0]:.2f} % (torch {100 * right[1]:.2f} %)"
            scored = scored if test.class_names == model.class_names else ""
            text = (
                f"{len(test):,} test faces ({test.kind}): largest difference of a probability {largest:.1e}, "
                f"equal answers {equal:,} of {len(test):,}{scored}"
            )
            if path == temporary[0] and not largest < TOLERANCE:
                raise UserError(
                    f"the ONNX file does not answer as torch does, and was not kept. {text}", code=1
                )
            if path != temporary[0] and test.kind != model.checkpoint.get("data"):
                print(f"note: the 8-bit ranges were set by {test.kind}; --data names what it was trained on")
            os.replace(path, target)
            print(f"{target}, {target.stat().st_size / 1e6:.2f} MB\n{text}")


if __name__ == "__main__":
    main()
