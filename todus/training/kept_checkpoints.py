"""Which checkpoints stay in training/."""

from pathlib import Path
from typing import List

from todus import files
from todus.model import checkpoints
from todus.paths import Model


def keep_newest(model: Model, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints. TensorFlow, resumed with a smaller KEEP, removes only one for each that it saves."""
    every = [prefix for _, prefix in checkpoints.trained(model)]
    if len(every) > keep:
        _keep_only(model, every[-keep:])


def drop_suspects(model: Model, step: int) -> None:
    """Removes the checkpoints saved since the weights that gave a NaN or infinite loss at `step`; keeps all where none is older."""
    every = checkpoints.trained(model)
    good = [prefix for number, prefix in every if number < max(step - 1, 1)]
    if good and len(good) < len(every):
        _keep_only(model, good)


def _keep_only(model: Model, good: List[Path]) -> None:
    lines = ['model_checkpoint_path: "%s"' % good[-1].name] + [
        'all_model_checkpoint_paths: "%s"' % prefix.name for prefix in good
    ]
    files.write_text(
        model.training / "checkpoint", "\n".join(lines) + "\n"
    )  # TensorFlow's list, with relative paths
    for _, prefix in checkpoints.trained(model):
        if prefix not in good:
            for path in prefix.parent.glob(prefix.name + ".*"):
                path.unlink()
