"""The files of a checkpoint, and which checkpoints stay in training/."""

from pathlib import Path
from typing import List

from todus import files
from todus.model import checkpoints
from todus.paths import Model


def exists(prefix: Path) -> bool:
    """Whether there is a checkpoint: its index is written last."""
    return prefix.with_name(prefix.name + ".index").exists()


def _files_of(prefix: Path) -> List[Path]:
    """The files of a checkpoint, the index last."""
    found = prefix.parent.glob(prefix.name + ".*")
    return sorted(found, key=lambda path: path.suffix == ".index")


def link(prefix: Path, folder: Path) -> None:
    """Links a checkpoint into `folder`, or copies it where the file system has no hard links."""
    for path in _files_of(prefix):
        files.link_or_copy(path, folder / path.name)


def remove(prefix: Path) -> None:
    """Removes the files of a checkpoint, the index first."""
    for path in reversed(_files_of(prefix)):
        path.unlink()


def keep_newest(model: Model, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints: TensorFlow removes one for each it saves.

    TensorFlow's list of them is written anew: it may be damaged, or name one that was removed.
    """
    _keep_only(model, [prefix for _, prefix in checkpoints.trained(model)][-keep:])


def list_existing(model: Model) -> None:
    """Writes TensorFlow's list of checkpoints anew, and removes none of them."""
    _keep_only(model, [prefix for _, prefix in checkpoints.trained(model)])


def drop_suspects(model: Model, step: int) -> None:
    """Removes the checkpoints of step - 1 or later, after a bad loss at `step`, if one is older."""
    every = checkpoints.trained(model)
    good = [prefix for number, prefix in every if number < max(step - 1, 1)]
    if good and len(good) < len(every):
        _keep_only(model, good)


def _keep_only(model: Model, good: List[Path]) -> None:
    """Also writes TensorFlow's list of checkpoints, with relative paths."""
    lines = ['model_checkpoint_path: "%s"\n' % prefix.name for prefix in good[-1:]]
    lines += ['all_model_checkpoint_paths: "%s"\n' % prefix.name for prefix in good]
    state = model.training / "checkpoint"
    if good:
        files.write_text(state, "".join(lines))
    elif state.exists():
        state.unlink()
    for _, prefix in checkpoints.trained(model):
        if prefix not in good:
            remove(prefix)
    for path in model.training.glob("model.ckpt-*.tempstate*"):  # of a save that was killed
        path.unlink()
