"""Reads and writes the variables of a TensorFlow checkpoint."""

import errno
import os
from collections import OrderedDict
from pathlib import Path
from typing import Dict, List, Mapping, Optional

import numpy as np

from todus.errors import TodusError
from todus.text import first_line

# The end of the name of a variable's moving average (tf.train.ExponentialMovingAverage).
AVERAGE = "/ExponentialMovingAverage"


def read_checkpoint(prefix: Path) -> "OrderedDict[str, np.ndarray]":
    """Every variable of a TensorFlow checkpoint. Raises TodusError where it cannot be read."""
    from todus.tf import tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = sorted(reader.get_variable_to_shape_map())
        return OrderedDict((name, reader.get_tensor(name)) for name in names)
    except (tf.errors.OpError, ValueError, RuntimeError, UnicodeDecodeError) as error:
        text = "checkpoint %s cannot be read (%s); fetch it again"
        raise TodusError(text % (prefix, str(error).split("\n")[0][:200]))


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Writes PREFIX.index and PREFIX.data-00000-of-00001 to an existing folder.

    Raises OSError where the disk is full, TodusError where TensorFlow cannot write otherwise.
    """
    from todus.tf import tf

    names = sorted(variables)
    on_cpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=on_cpu) as session:
        feeds = [tf.placeholder(variables[name].dtype, variables[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=feeds,
        )
        try:
            session.run(save, {feed: variables[name] for feed, name in zip(feeds, names)})
        except tf.errors.OpError as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(prefix))
            text = "checkpoint %s cannot be written (%s); check the disk, and run this again"
            raise TodusError(text % (prefix, first_line(error)))


def averaged(variables: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The variables with the values of their moving averages, where they have one."""
    return {
        name: variables.get(name + AVERAGE, value)
        for name, value in variables.items()
        if not name.endswith(AVERAGE)
    }


def has_ranges(names: List[str]) -> bool:
    """Whether variable names include the trained ranges of fake quantization."""
    return any(name.endswith(("quant/min", "quant/max")) for name in names)


def variable_names(prefix: Path) -> Optional[List[str]]:
    """The names in a checkpoint; None where it does not exist."""
    from todus.tf import tf

    if not Path(str(prefix) + ".index").exists():
        return None
    return sorted(name for name, _ in tf.train.list_variables(str(prefix)))
