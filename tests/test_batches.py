"""batches.py: what an epoch visits, how processes share it, and that it is the same from host memory."""

import contextlib

import pytest
import torch

from ferlab.training import augment
from ferlab.training.batches import Batches, degrade
from ferlab.training.runtime import Runtime, generator

IMAGES = torch.randint(0, 256, (23, 3, 40, 40), generator=generator(1), dtype=torch.uint8)
NUMBERS = torch.arange(23)  # as labels: every image says which one it is


def runtime(rank: int = 0, world: int = 1, place: str = "cpu") -> Runtime:
    return Runtime(torch.device(place), None, rank, world)


def batches(*, rank: int = 0, world: int = 1, **more) -> Batches:
    return Batches(IMAGES, NUMBERS, 32, runtime(rank, world), **more)


def epoch(data: Batches, batch_size: int = 4, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draws = generator(seed)
    return list(data.train(torch.randperm(23, generator=draws), batch_size, augment.draw(23, draws)))


def test_an_epoch_visits_each_image_once():
    draws = generator(0)
    order = torch.randperm(20, generator=draws)
    seen = [y for _, y in batches().train(order, 4, augment.draw(20, draws))]
    assert torch.equal(torch.cat(seen), order)


def test_all_batches_have_one_shape_and_others_are_left_out_next_time():
    one, other = epoch(batches(), seed=0), epoch(batches(), seed=1)
    assert [tuple(x.shape) for x, _ in one] == [(4, 3, 32, 32)] * 5
    assert [len(y) for _, y in one] == [4] * 5
    left_out = [set(range(23)) - set(torch.cat([y for _, y in e]).tolist()) for e in (one, other)]
    assert len(left_out[0]) == len(left_out[1]) == 3 and left_out[0] != left_out[1]


def test_each_image_gets_its_own_draws():
    draws = augment.draw(23, generator(0))
    order = torch.randperm(23, generator=generator(2))
    for i, (x, y) in enumerate(batches().train(order, 4, draws)):
        assert torch.allclose(x, augment.apply(IMAGES[y], 32, draws.take(slice(4 * i, 4 * i + 4))), atol=1e-6)


def test_two_processes_share_the_batch_of_one():
    parts = zip(epoch(batches(rank=0, world=2)), epoch(batches(rank=1, world=2)), strict=True)
    together = [tuple(torch.cat(pair) for pair in zip(*both)) for both in parts]
    for (x, y), (expected_x, expected_y) in zip(together, epoch(batches()), strict=True):
        assert torch.equal(y, expected_y)
        assert torch.allclose(x, expected_x, atol=1e-5)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_image_once_in_order(world):
    seen = torch.zeros(23, 3, 32, 32)
    for rank in range(world):
        seen[rank::world] += torch.cat(list(batches(rank=rank, world=world).evaluate(5)))
    assert torch.allclose(seen, augment.apply(IMAGES, 32), atol=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_memory_layout_is_as_asked_and_changes_no_pixel(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    data = batches(channels_last=channels_last)
    trained, evaluated = [x for x, _ in epoch(data)], list(data.evaluate(23))
    assert all(x.is_contiguous(memory_format=layout) for x in trained + evaluated)
    assert torch.equal(torch.cat(trained), torch.cat([x for x, _ in epoch(batches())]))


def test_degrading_averages_the_pixels_and_keeps_smaller_images():
    board = (torch.arange(40)[:, None] + torch.arange(40)) % 2 * 255
    small = degrade(board.byte().expand(2, 3, 40, 40), 8)
    assert small.shape == (2, 3, 8, 8) and small.dtype == torch.uint8
    assert (small.float() - 127.5).abs().max() < 10  # without averaging it would be black and white
    level = torch.full((1, 3, 40, 40), 201, dtype=torch.uint8)
    assert torch.equal(degrade(level, 13), level[..., :13, :13])
    assert degrade(IMAGES, 40) is IMAGES and degrade(IMAGES, 100) is IMAGES


def test_a_resolution_reduces_the_images_first():
    seen = torch.cat(list(batches(resolution=10).evaluate(23)))
    assert torch.allclose(seen, augment.apply(degrade(IMAGES, 10), 32), atol=1e-5)
    assert not torch.allclose(seen, augment.apply(IMAGES, 32), atol=0.5)


def test_images_left_on_the_host_come_one_ahead_and_make_the_same_batches(monkeypatch):
    """The copying code without a GPU: stand-ins for its streams and for pinning note what happens when."""
    events = []

    class Stream:
        def wait_stream(self, other: "Stream") -> None:
            events.append("wait")

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        events.append("fetch")
        return tensor

    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: events.append("keep"))
    on_host = batches()
    on_host.resident, on_host._copying = False, Stream()
    for (x, y), (expected_x, expected_y) in zip(epoch(on_host), epoch(batches()), strict=True):
        assert torch.equal(x, expected_x) and torch.equal(y, expected_y)
    assert events == ["fetch"] + 4 * ["fetch", "wait", "keep"] + ["wait", "keep"]
    events.clear()
    assert torch.equal(torch.cat(list(on_host.evaluate(5))), torch.cat(list(batches().evaluate(5))))
    assert events.count("fetch") == events.count("wait") == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_images_left_on_the_host_make_the_same_batches_on_a_gpu():
    resident, on_host = (Batches(IMAGES, NUMBERS, 32, runtime(place="cuda"), share=s) for s in (0.5, 0.0))
    assert resident.resident and not on_host.resident
    for (x, y), (expected_x, expected_y) in zip(epoch(on_host), epoch(resident), strict=True):
        assert x.is_cuda and torch.equal(x, expected_x) and torch.equal(y, expected_y)
