"""A run for the size of a dataset: the batch size, steps and decay that were not given."""

from dataclasses import replace
from typing import List, Tuple

from todus.machine import memory
from todus.model import pipeline, resources
from todus.model.pipeline_options import Options

PASSES = 20  # over the train images
LEAST_STEPS = 300
LEAST_BATCH = 8
STEPS_A_PASS = 40  # at least, where the batch can be smaller
WARM_UP = 20  # one in so many steps


def complete(
    config: pipeline.Config, options: Options, images: int, cost: resources.Costs, auto: bool
) -> Tuple[Options, List[str]]:
    """The options with a batch size, steps and decay where they have none.

    A zoo model has seen 118,000 images for tens of passes in large batches; a run of as many steps
    on a few hundred images takes days and overfits.

    Args:
      config: the model's, with the zoo's batch size and steps, which are the most.
      options: as given.
      images: in train; with 0 only the batch size is chosen.
      cost: of the model, for the memory of a batch.
      auto: whether the batch is the largest that fits into memory, up to the given one.

    Returns:
      The options, and a line for the user about what was chosen.
    """
    zoo = config.train_config
    batch, steps = options.batch_size, options.steps
    device, free = memory.training_device()
    most = batch or zoo.batch_size or LEAST_BATCH
    fits = min(most, resources.largest_batch(cost, int(resources.SHARE * free), 512))
    lines = []
    if auto:
        batch = fits
        lines.append("batch size %d, for %.1f GB free on %s" % (batch, free / 1e9, device))
    if not images:
        return replace(options, batch_size=batch), lines
    if batch is None:
        batch = min(fits, max(LEAST_BATCH, images // STEPS_A_PASS))
    if steps is None:
        steps = max(LEAST_STEPS, rounded(PASSES * images / batch))
        steps = min(steps, zoo.num_steps) if zoo.num_steps else steps
    made = replace(options, batch_size=batch, steps=steps)
    if options.learning_rate is None and options.decay is None:
        made = replace(made, decay="cosine", warmup_steps=steps // WARM_UP)
    if (options.batch_size, options.steps) == (batch, steps):
        return made, lines
    passes = "%.3g passes over %d train images" % (steps * batch / max(images, 1), images)
    text = "%d steps of batch %d, %s (the zoo's config: %d of %d); --steps, --batch-size set others"
    return made, lines + [text % (steps, batch, passes, zoo.num_steps, zoo.batch_size)]


def rounded(number: float) -> int:
    """The nearest number of two significant digits: 1,234 becomes 1,200."""
    return int(float("%.2g" % number))
