"""What TensorFlow raises while training, as one line: what is wrong, what is kept, what to do."""

import contextlib
import math
from typing import Iterator

from todus.errors import TodusError
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Model
from todus.training import batch_images, kept_checkpoints
from todus.training.hooks import BadLoss


@contextlib.contextmanager
def as_one_line(model: Model, config: pipeline.Config) -> Iterator[None]:
    """Raises TodusError for what TensorFlow raises in the block. After a bad loss the checkpoints in doubt are removed.

    Args:
      model: whose training runs in the block.
      config: of the run.
    """
    from todus.tf import tf

    try:
        yield
    except (BadLoss, tf.train.NanLossDuringTrainingError) as error:
        kept_checkpoints.drop_suspects(model, getattr(error, "step", 0))
        raise TodusError(_bad_loss(model, config, error))
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TodusError(_no_space(model) if "No space left" in str(error) else _no_memory(config))
    except tf.errors.OpError as error:
        line = str(error).strip().split("\n")[0][:300]
        raise TodusError(
            "training stopped (%s); check the records: python -m todus.commands.verify DIR" % line
        )


def _bad_loss(model: Model, config: pipeline.Config, error: Exception) -> str:
    """The step, the images of its batch, the checkpoint that is kept, and the learning rate; TensorFlow's own error has no step."""
    what = "NaN" if math.isnan(getattr(error, "loss", math.nan)) else "infinite"
    hashes = getattr(error, "hashes", None)
    images = batch_images.named(prepared.dataset_of(model), hashes) if hashes else []
    batch = "; its batch was %s" % ", ".join(images) if images else ""
    kept = checkpoints.latest(model)
    rates = pipeline.optimizer_rates(config)
    rate = " than %.4g" % getattr(*rates[0]) if rates else ""
    return (
        "the loss became %s at step %d%s; %s is kept; go on with a LEARNING_RATE smaller%s, or look at these images' boxes"
        % (
            what,
            getattr(error, "step", 0),
            batch,
            kept[1].name if kept else "the slice",
            rate,
        )
    )


def _no_space(model: Model) -> str:
    return (
        "no space left at %s; free some and run this again: nothing that was saved is lost"
        % model.training
    )


def _no_memory(config: pipeline.Config) -> str:
    batch = config.train_config.batch_size
    advice = (
        "try BATCH_SIZE=%d" % (batch // 2)
        if batch > 1
        else "this model does not fit; choose a smaller one"
    )
    return "out of memory at BATCH_SIZE=%d; nothing that was saved is lost: %s" % (batch, advice)
