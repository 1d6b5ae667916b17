"""Where a run goes, and what must not be spoilt there (2 s)."""

from dataclasses import replace
from pathlib import Path

import pytest

from ferlab.data.layout import prefix
from ferlab.errors import UserError
from ferlab.training.run_folder import place, refuse


@pytest.fixture
def there(options) -> Path:
    """The folder of the run's own name, made."""
    folder = place("ConvNet", options)
    folder.mkdir(parents=True)
    return folder


def test_a_published_run_is_left_alone_and_its_seed_runs_beside_it(options, there):
    """It came with the repository, which holds no checkpoints."""
    assert there == Path(options.output) / "ConvNet/drawn-seed0"
    (there / "metrics.json").touch()
    assert place("ConvNet", options) == there.with_name("rerun-drawn-seed0")
    refuse("ConvNet", options)
    assert place("ConvNet", replace(options, overwrite=True)) == there
    assert place("ConvNet", replace(options, name="drawn-seed0")) == there
    (there / "last.pth").touch()  # the user's own
    with pytest.raises(UserError, match="drawn-seed0 holds a finished run.*--overwrite"):
        refuse("ConvNet", options)


@pytest.mark.parametrize(
    "file, said",
    [
        ("best_model.pth", "holds a trained model, best_model.pth"),
        ("log.csv", "holds an unfinished run of 0"),
    ],
)
def test_what_a_run_would_spoil_is_refused(options, there, file, said):
    (there / file).touch()
    with pytest.raises(UserError, match=said):
        refuse("ConvNet", options)
    refuse("ConvNet", replace(options, overwrite=True))


def test_drawn_faces_are_known_wherever_the_path_points(options, drawn):
    for path in (drawn, drawn.parent, drawn / "DATASET"):
        assert prefix(str(path)) == "drawn-"
        assert place("ConvNet", replace(options, data=str(path))).name == "drawn-seed0"


def test_without_data_there_is_no_place(options):
    with pytest.raises(UserError, match="nowhere does not exist"):
        place("ConvNet", replace(options, data="nowhere"))
