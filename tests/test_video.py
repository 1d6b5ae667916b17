"""Videos as people have them: whole and broken ones, without faces or frames; drawn and encoded here."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scripts
from PIL import Image
from test_faces import detector  # noqa: F401  (a fixture)
from test_predict import rows, run, start  # noqa: F401  (fixtures)
from trees import FACE, IMAGE

from ferlab import Recognizer
from ferlab.errors import UserError
from ferlab.inference import timeline, video
from ferlab.inference.annotate import ORANGE
from ferlab.synthetic.dataset import draw_face

cv2 = pytest.importorskip("cv2", reason="pip install opencv-python")

RATE, SIZE = 10, (640, 480)


def encoded(path: Path, pictures: list[Image.Image], code: str = "mp4v") -> Path:
    """A real video of these pictures, ten a second."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), RATE, SIZE)
    for picture in pictures:
        writer.write(np.asarray(picture)[..., ::-1].copy())
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Three seconds: one face moves to the right, 90 pixels a second; another one comes after 1.2."""
    rng = np.random.default_rng(3)
    moving, coming = (draw_face(expression, rng).resize((180, 180)) for expression in (3, 4))
    pictures = []
    for number in range(30):
        picture = Image.new("RGB", SIZE, (200, 215, 225))
        picture.paste(moving, (10 + 9 * number, 30))
        if number >= 12:
            picture.paste(coming, (20, 260))
        pictures.append(picture)
    return encoded(tmp_path_factory.mktemp("clip") / "two people.mp4", pictures)


@pytest.fixture
def empty(tmp_path) -> Path:
    """Six seconds without a face."""
    return encoded(tmp_path / "empty.avi", [Image.new("RGB", SIZE, "grey")] * 60, "MJPG")


def test_a_row_a_face_and_sampled_frame(clip, run, start, detector):
    code, out, err = start(clip, "--model", run, "--csv")
    found = rows(out)
    assert code == 0 and err == []
    assert [(row["time"], row["face"]) for row in found if row["face"] == "1"] == [
        (f"{0.5 * i:.3f}", "1") for i in range(6)
    ]
    second = [row for row in found if row["face"] == "2"]
    assert [row["time"] for row in second] == ["1.500", "2.000", "2.500"] and len(found) == 9
    for row in found:
        middle = [(float(row[a]) + float(row[b])) / 2 for a, b in (("left", "right"), ("top", "bottom"))]
        at = (100 + 90 * float(row["time"]), 120) if row["face"] == "1" else (110, 350)
        assert np.abs(np.subtract(middle, at)).max() < 45
    plain = rows(start(clip, "--model", run, "--csv", "--smooth", 0, "--every", 1)[1])
    same = [row for row in plain if row["time"] == "0.000"]
    assert len(plain) == 4 and same == found[:1]  # 0, 1 and 2 seconds; at the last one both
    assert plain[-1]["probability"] != found[-3]["probability"]


def test_what_is_saved_of_a_video(clip, run, start, tmp_path, detector):
    marked = tmp_path / "marked.mp4"
    code, out, err = start(clip, "--model", run, "--save-images", tmp_path, "--save-video", marked)
    assert code == 0 and err == [] and "seconds" in out.splitlines()[0]
    assert {path.name for path in tmp_path.iterdir()} == {"marked.mp4", "two people-timeline.png"}
    assert np.asarray(Image.open(tmp_path / "two people-timeline.png")).std() > 10
    reader = cv2.VideoCapture(str(marked))
    assert (reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)) == (30, RATE)
    sides = []  # x of the box's right side in the frames up to the last one that was looked at
    for _ in range(26):
        picture = reader.read()[1][..., ::-1].astype(int)
        assert picture.shape == (*SIZE[::-1], 3)
        sides.append(np.flatnonzero(np.abs(picture[120] - ORANGE).sum(1) < 120).max())
    assert np.abs(sides - np.arange(180, 180 + 9 * 26, 9)).max() < 40
    assert np.abs(np.diff(sides)).max() < 25  # evenly, although only each fifth frame was looked at


@pytest.mark.parametrize(
    "name, said",
    [
        ("cut.mp4", "cannot be read as a video"),
        ("text.mp4", "cannot be read as a video"),
        ("cut.avi", "ends after 2."),
        ("none.avi", "holds no frame that can be read"),
        ("empty.avi", "no face was found in 12 frames"),
        ("gone.mp4", "cannot be read (No such file"),
    ],
)
def test_what_is_no_whole_video_with_faces_gets_a_sentence(
    clip, empty, tmp_path, run, start, detector, name, said
):  # fmt: skip
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:5000])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.avi").write_bytes(empty.read_bytes()[: empty.stat().st_size // 2])
    encoded(tmp_path / "none.avi", [], "MJPG")
    code, out, err = start(tmp_path / name, "--model", run, "--csv", "--save-images", tmp_path / "saved")
    assert code == 1 and rows(out) == [] and said in err[0] and name in err[0]
    assert len(err) == (2 if name == "cut.avi" else 1)
    assert not list((tmp_path / "saved").iterdir())


def test_videos_and_pictures_together_and_videos_known_by_contents(clip, tmp_path, run, start, detector):
    unnamed, picture = tmp_path / "clip", tmp_path / "test_0001_aligned.mp4"
    unnamed.write_bytes(clip.read_bytes())
    picture.write_bytes(FACE)  # a picture, whatever its name
    code, out, err = start(picture, unnamed, "--model", run, "--csv", "--every", 5)
    assert code == 0 and err == []
    assert [(Path(row["file"]).name, row["time"]) for row in rows(out)] == [
        (picture.name, ""),
        ("clip", "0.000"),
    ]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--every", "-1"], "--every is -1; it is a number of seconds"),
        (["--every", "nan"], "--every is nan"),
        (["--smooth", "inf"], "--smooth is inf"),
        (["--aligned"], "--aligned is for pictures"),
        (["--save-video", "a.avi"], "must end in .mp4"),
        (["--save-video", "nowhere/a.mp4"], "the folder nowhere does not exist"),
        (["--save-video", "clip.mp4"], "would write over the video"),
        (["clip.mp4", "--save-video", "a.mp4"], "--save-video writes one video; named were 2"),
    ],
)
def test_options_of_videos_that_make_no_sense(clip, run, start, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(clip.read_bytes())
    code, out, err = start("clip.mp4", *words, "--model", run)
    assert (code, out, len(err)) == (2, "", 1) and said in err[0]
    assert Path("clip.mp4").read_bytes() == clip.read_bytes() and len(list(tmp_path.iterdir())) == 1


def test_times_are_the_file_s_own_and_else_from_the_rate(tmp_path):
    frames = [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(5)]
    frames[0].save(
        tmp_path / "own", "GIF", save_all=True, append_images=frames[1:], duration=[100, 900, 100, 2000, 100]
    )
    with video._opened(str(tmp_path / "own")) as opened:
        assert [round(at, 2) for at, _ in video._frames(opened)] == [0, 0.1, 1, 1.1, 3.1]
    with video._opened(str(tmp_path / "own")) as opened:
        assert [round(at, 2) for at, _ in video._frames(opened, 1)] == [0, 1, 3.1]
    (tmp_path / "none").write_bytes(b"".join(FACE for _ in range(6)))  # bare JPEGs: no rate, no time stamps
    with video._opened(str(tmp_path / "none")) as opened:
        assert [round(at, 2) for at, _ in video._frames(opened)] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]

    class Stuck:  # a file whose stamps are nonsense
        stamps = [float("nan"), 0, 0, 1e12, 7, 120]

        def grab(self) -> bool:
            return bool(self.stamps)

        def get(self, key: int) -> float:
            return 0 if key == cv2.CAP_PROP_FPS else self.stamps.pop(0)

        def retrieve(self):
            return True, np.zeros((4, 4, 3), np.uint8)

    assert [round(at, 3) for at, _ in video._frames(Stuck())] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]


def test_a_video_that_cannot_be_written(clip, tmp_path):
    (tmp_path / "a.mp4").mkdir()
    for target in (tmp_path / "nowhere/a.mp4", tmp_path / "a.mp4"):
        with pytest.raises(UserError, match="a.mp4 could not be written"):
            video.save(str(clip), target, [video.Sample(0, [])])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_without_opencv_one_sentence(clip, tmp_path, run, start, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "test_0001_aligned.jpg").write_bytes(FACE)
    code, out, err = start(tmp_path / "test_0001_aligned.jpg", clip, "--model", run, "--csv")
    assert code == 1 and len(rows(out)) == 1 and len(err) == 1
    assert "a video needs OpenCV, which is not installed: pip install opencv-python" in err[0]


def test_a_camera_without_a_display_is_one_sentence(run, tmp_path):
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    done = scripts.run("predict.py", "--webcam", "--model", run, folder=tmp_path, **nowhere)
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1
    assert "needs a display" in done.err


def test_many_faces_fit_on_a_timeline(run):
    [face] = Recognizer(run)(IMAGE, aligned=True)
    samples = [video.Sample(t, [(n, face) for n in range(t, 20)]) for t in range(3)]
    picture = timeline.timeline(samples, title="a $ sign")
    assert picture.width > 1000 and picture.height < 3000
