"""The variables of a TensorFlow checkpoint: read and written."""

from collections import OrderedDict
from pathlib import Path
from typing import List, Mapping, Optional

import numpy as np

from todus.errors import TodusError


def read_checkpoint(prefix: Path) -> "OrderedDict[str, np.ndarray]":
    """Every variable of a TensorFlow checkpoint. Raises TodusError for one that is missing or damaged."""
    from todus.tf import tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return OrderedDict(
            (name, reader.get_tensor(name)) for name in sorted(reader.get_variable_to_shape_map())
        )
    except (tf.errors.OpError, ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise TodusError(
            "checkpoint %s cannot be read (%s); fetch it again"
            % (prefix, str(error).split("\n")[0][:200])
        )


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Writes a TensorFlow V2 checkpoint: PREFIX.index and PREFIX.data-00000-of-00001. The folder exists."""
    from todus.tf import tf

    names = sorted(variables)
    with tf.Graph().as_default(), tf.Session(
        config=tf.ConfigProto(device_count={"GPU": 0})
    ) as session:
        feeds = [tf.placeholder(variables[name].dtype, variables[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=feeds,
        )
        session.run(save, dict(zip(feeds, (variables[name] for name in names))))


def has_ranges(names: List[str]) -> bool:
    """Whether variable names include the trained ranges of fake quantization."""
    return any(name.endswith(("quant/min", "quant/max")) for name in names)


def variable_names(prefix: Path) -> Optional[List[str]]:
    """The names in a checkpoint, None where there is none."""
    from todus.tf import tf

    if not Path(str(prefix) + ".index").exists():
        return None
    return sorted(name for name, _ in tf.train.list_variables(str(prefix)))
