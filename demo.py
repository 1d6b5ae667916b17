"""A page in the browser: drop a photo or use the camera, and see every face's expression and where it shows.

python demo.py                              # then open http://127.0.0.1:7860
python demo.py --host 0.0.0.0 --port 8000    # for other machines too

Needs: pip install gradio. No photo is kept: uploads lie in a temporary folder until they are a minute old.
"""

import ferlab  # noqa: F401  before torch is loaded: it words what goes wrong then

# isort: split
import argparse
import functools
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image

from ferlab.errors import UserError, command
from ferlab.inference.annotate import annotate
from ferlab.inference.photos import faces_in
from ferlab.inference.predictor import best
from ferlab.inference.recognizer import Prediction, Recognizer
from ferlab.synthetic.dataset import draw_face

MAX_SHOWN = 1600  # pixels of the longer side of the answer's picture
CSS = "#maps .grid-container { grid-template-columns: repeat(6, 1fr) !important; }"  # one is not larger
recognizer = functools.lru_cache(2)(Recognizer)


def answer(photo: str | None, run: str) -> tuple:
    """What the page shows of a file: a sentence, the marked picture, a row and a heat map a face."""
    if not photo:
        return "Drop a photo, use the camera, or take an example.", None, [], []
    try:
        model = recognizer(run)
        picture, faces = faces_in(photo)
    except UserError as error:
        return str(error).replace(photo, "This file"), None, [], []
    found = model.classify(faces)
    marked = annotate(picture, found, longest=MAX_SHOWN)
    if not found:
        return "No face was found.", marked, [], []
    rows = [
        [i, face.expression, *(f"{100 * p:.1f} %" for p in face.probabilities.values())]
        for i, face in enumerate(found, 1)
    ]
    table = pd.DataFrame(rows, columns=["face", "expression", *model.class_names])
    heats = model.heat_maps(torch.from_numpy(np.stack([face.pixels for face in found])))
    maps = [
        (heated(face, heat), f"{i}  {face.expression}") for i, (face, heat) in enumerate(zip(found, heats), 1)
    ]
    return f"{len(found)} face{'s' if len(found) > 1 else ''}, by {model}", marked, table, maps


def heated(face: Prediction, heat: torch.Tensor) -> Image.Image:
    """The face in grey under its heat map, (3, 100, 100) and (100, 100), enlarged."""
    grey = face.pixels.mean(0)[..., None]
    mixed = 0.45 * grey + 0.55 * 255 * colormaps["inferno"](heat.numpy())[..., :3]
    return Image.fromarray(mixed.round().astype(np.uint8)).resize((300, 300), Image.Resampling.BICUBIC)


def runs() -> list[str]:
    """Folders of the trained models, the best one first."""
    first = best()
    others = sorted(first.parents[2].glob("*/*/best_model.pth"), key=lambda file: file != first)
    return [str(file.parent) for file in others]


def examples(folder: Path) -> list[str]:
    """A drawn face for each expression, as pictures of 640 x 480 pixels in `folder`."""
    paths, rng = [], np.random.default_rng(3)
    for expression in range(7):
        picture = Image.new("RGB", (640, 480), (200, 215, 225))
        picture.paste(draw_face(expression, rng).resize((320, 320), Image.Resampling.BICUBIC), (160, 60))
        paths.append(str(folder / f"drawn-{expression + 1}.png"))
        picture.save(paths[-1])
    return paths


def page(folder: Path):
    """The page; `folder` holds what is uploaded, and the examples."""
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False")
    try:
        import gradio as gr
    except ImportError:
        raise UserError("the page needs gradio, which is not installed: pip install gradio") from None

    with gr.Blocks(title="Facial expressions", analytics_enabled=False, delete_cache=(60, 60)) as blocks:
        gr.Markdown("# Facial expressions\nThe photo stays on the machine that runs this page; none is kept.")
        with gr.Row():
            with gr.Column():
                photo = gr.Image(label="photo", sources=["upload", "webcam", "clipboard"])
                photo.preprocess = lambda upload: upload and upload.path  # read by this suite
                run = gr.Dropdown(runs(), label="model")
            with gr.Column():
                status = gr.Markdown(answer(None, "")[0], elem_id="status")
                marked = gr.Image(label="faces", interactive=False, format="jpeg", elem_id="marked")
        table = gr.Dataframe(label="probabilities", interactive=False)
        maps = gr.Gallery(label="where the model looked: bright is where", height="auto", elem_id="maps")
        inputs, outputs = [photo, run], [status, marked, table, maps]
        gr.on([photo.change, run.change], answer, inputs, outputs, show_progress="minimal")
        gr.Examples(examples(folder), photo, label="drawn faces", cache_examples=False)
    return blocks, gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: on all")
    parser.add_argument("--port", type=int, default=7860, help="of the page (default 7860)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder goes
    with tempfile.TemporaryDirectory(prefix="ferlab-demo-") as folder:
        blocks, theme = page(Path(folder))
        try:
            blocks.launch(server_name=args.host, server_port=args.port, theme=theme, share=False, css=CSS,
                          max_file_size="64mb", footer_links=[], ssr_mode=False)  # fmt: skip
        except OSError as error:
            raise UserError(f"the page cannot listen on {args.host}, port {args.port}: {error}") from None


if __name__ == "__main__":
    main()
