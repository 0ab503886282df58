"""Errors of TensorFlow while training as one line: what is wrong, what is kept, what to do."""

import contextlib
import math
from typing import Iterator

from todus.errors import TodusError
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Model
from todus.text import first_line
from todus.training import batch_images, kept_checkpoints
from todus.training.hooks import BadLoss


@contextlib.contextmanager
def as_one_line(model: Model, config: pipeline.Config) -> Iterator[None]:
    """Raises TodusError in place of an error of TensorFlow in the block, a training of `model`.

    After a NaN or infinite loss, the checkpoints that may have caused it are removed.
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
        raise TodusError(
            "training stopped (%s); check the records: python -m todus.commands.verify DIR"
            % first_line(error, 300)
        )
    except ValueError as error:  # from the functions that build the graph
        raise TodusError(
            "the graph of %s cannot be built (%s); correct %s, or prepare the model again, with "
            "other options if need be: %s"
            % (model.name, first_line(error, 300), model.pipeline, prepared.preparation(model))
        )


def _bad_loss(model: Model, config: pipeline.Config, error: Exception) -> str:
    """The message for a BadLoss, or for TensorFlow's own error, which has no step."""
    what = "NaN" if math.isnan(getattr(error, "loss", math.nan)) else "infinite"
    hashes = getattr(error, "hashes", None)
    images = batch_images.file_names(prepared.dataset_of(model), hashes) if hashes else []
    batch = "; its batch was %s" % ", ".join(images) if images else ""
    newest = checkpoints.latest(model)
    kept = newest[1].name if newest else "the slice"
    rates = pipeline.optimizer_rates(config)
    rate = " than %.4g" % getattr(*rates[0]) if rates else ""
    return (
        "the loss became %s at step %d%s; %s is kept; resume with a LEARNING_RATE smaller%s, "
        "or check the boxes of these images"
    ) % (what, getattr(error, "step", 0), batch, kept, rate)


def _no_space(model: Model) -> str:
    return (
        "no space left on the disk of %s; free some and run the same command again: "
        "saved checkpoints are not lost" % model.training
    )


def _no_memory(config: pipeline.Config) -> str:
    batch = config.train_config.batch_size
    smaller = "try BATCH_SIZE=%d" % (batch // 2)
    advice = smaller if batch > 1 else "this model does not fit; use a smaller one"
    return "out of memory at BATCH_SIZE=%d; saved checkpoints are not lost: %s" % (batch, advice)
