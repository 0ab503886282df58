"""The lines that long work prints."""

from todus import progress


def test_images_done_and_the_time_left_are_said_every_ten_seconds(monkeypatch):
    clock = iter([0, 4, 12, 15, 30])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = []
    tick = progress.Ticker("eval: %d of %d images", 200, lines.append)
    for done in (10, 40, 50, 100):
        tick(done)
    assert lines == ["eval: 40 of 200 images, 48 s left", "eval: 100 of 200 images, 30 s left"]
