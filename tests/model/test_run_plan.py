"""The batch size, steps and decay that python -m model chooses for the size of a dataset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todus.machine import memory
from todus.model import pipeline, resources, run_plan
from todus.model.pipeline_options import Options

ZOO = pipeline.parse(
    "model { ssd { num_classes: 90 } } train_config { batch_size: 24 num_steps: 200000 }", "test"
)
COST = resources.Costs(4000000, 10**9, 16000000, 1917, [], [])


@pytest.fixture(autouse=True)
def eight_gigabytes(monkeypatch):
    monkeypatch.setattr(memory, "devices", lambda: [("this machine", 8 << 30)])


def complete(images, auto=False, **given_options):
    return run_plan.complete(ZOO, Options(**given_options), images, COST, auto)


@pytest.mark.parametrize(
    "images, batch, steps",
    [(40, 8, 300), (240, 8, 600), (1000, 24, 830), (64000, 24, 53000), (10**7, 24, 200000)],
)
def test_steps_are_twenty_passes_within_300_and_those_of_the_zoo(images, batch, steps):
    made, (line,) = complete(images)
    assert (made.batch_size, made.steps, made.decay) == (batch, steps, "cosine")
    assert line.startswith("%d steps of batch %d, " % (steps, batch))
    assert "the zoo's config: 200000 of 24" in line


def test_what_is_given_is_kept():
    made, lines = complete(240, batch_size=3, steps=77, learning_rate=0.1)
    assert (made.batch_size, made.steps, made.decay, lines) == (3, 77, None, [])
    made, _ = complete(240, decay="exponential")
    assert (made.decay, made.warmup_steps) == ("exponential", None)
    made, _ = complete(240, batch_size=24)
    assert (made.batch_size, made.steps) == (24, 300)


def test_auto_is_the_largest_batch_that_fits_and_without_images_nothing_else_is_chosen(monkeypatch):
    monkeypatch.setattr(memory, "devices", lambda: [("this machine", 2 << 30)])
    made, (line,) = complete(0, auto=True)
    assert 1 < made.batch_size < 24 and made == Options(batch_size=made.batch_size)
    assert line == "batch size %d, for 2.1 GB free on this machine" % made.batch_size


@given(st.integers(1, 10**7))
def test_more_images_never_mean_fewer_passes_than_the_zoo_or_more_steps(images):
    made, _ = complete(images)
    assert 8 <= made.batch_size <= 24 and 300 <= made.steps <= 200000
    assert made.warmup_steps < made.steps
