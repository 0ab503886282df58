"""Images that are in another split of the dataset than when the training last started."""

from typing import List

from todus import files
from todus.dataset import recorded_splits
from todus.errors import TodusError
from todus.paths import Dataset, Model


def record(model: Model, dataset: Dataset, step: int) -> List[str]:
    """Copies the dataset's splits to training/; the caller holds the lock of training/.

    Args:
      model: its training starts or goes on.
      dataset: what it is trained on.
      step: of the checkpoint that it goes on from, 0 without one.

    Returns:
      Lines for the user, where it goes on and the splits are not those of its last start.
    """
    now, copy = dataset.folder / recorded_splits.FILE, model.training / recorded_splits.FILE
    try:
        after = recorded_splits.read_file(now)
    except TodusError:  # COCO and merged datasets have given splits
        return []
    try:
        before = recorded_splits.read_file(copy)
    except TodusError:
        before = {}
    if before == after:
        return []
    files.write_text(copy, now.read_text(encoding="utf-8"))
    if not step or not before:
        return []
    changed = [key for key, split in before.items() if after.get(key, split) != split]
    trained = sum(before[key] == "train" for key in changed)
    lines = ["images that changed splits since the last start: %d" % len(changed)]
    if trained:
        text = "%d of them were in train: the AP on val is too high; train from the start"
        lines.append(text % trained)
    return lines
