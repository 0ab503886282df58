"""The steps of a run that adds classes: the same saves, reports and stops as with the Estimator."""

import math
import shutil
from pathlib import Path
from typing import Callable, List

from todus import files
from todus.added import coco_negatives
from todus.added.features import Features
from todus.added.training import FEATURES, AddedClasses
from todus.dataset.annotations import Image
from todus.model import checkpoints, pipeline, prepared
from todus.paths import Dataset, Model
from todus.training import failures, kept_checkpoints
from todus.training.hooks import BadLoss
from todus.training.progress import Progress
from todus.training.schedule import Save, SavePlan
from todus.training.settings import Settings

DISK_SHARE = 0.8  # of the free disk, at most, for cached features

Say = Callable[[str], None]


def train_added(
    model: Model,
    config: pipeline.Config,
    dataset: Dataset,
    settings: Settings,
    saved: Callable[[int, bool], None],
    plan: SavePlan,
    progress: Progress,
    say: Say,
) -> None:
    """Trains until num_steps or a stop; progress.stop has its reason.

    `saved` takes each step that was saved, and whether it is to be evaluated.

    Raises TodusError, with one line, in place of an error of TensorFlow.
    """
    stop, steps = progress.stop, config.train_config.num_steps
    with failures.as_one_line(model, config):
        free = DISK_SHARE * shutil.disk_usage(str(model.training)).free
        room, negatives = min(free, settings.cache_bytes), _negatives(model, settings, say)
        network = Features(model.limited_checkpoint, config, prepared.has_own_head(model))
        training = AddedClasses(model, config, dataset, network, negatives, room, say)
        newest = checkpoints.latest(model)
        step = newest[0] if newest else 0
        if newest:
            training.restore(newest[1])

        def save(planned: Save) -> None:
            if planned[0]:
                training.save(model.training / ("model.ckpt-%d" % step), step)
                kept_checkpoints.keep_newest(model, settings.keep)
                saved(step, planned[1])

        stop.at_once = False
        save(plan.at_start(step))
        while step < steps and not stop.reason:
            loss = training.step(step)
            step += 1
            if not math.isfinite(loss):
                raise BadLoss(step, loss, [])
            if progress.is_due(step):
                progress.report(step, loss, training.columns.rate)
            save(plan.after_step(step))
        save(plan.at_end(step))
        if step >= steps:
            training.cache.remove()


def remove_features(model: Model) -> None:
    """Removes the cached features of a run that was killed after its last step."""
    shutil.rmtree(str(model.training / FEATURES), ignore_errors=True)


def _negatives(model: Model, settings: Settings, say: Say) -> List[Image]:
    """Images of COCO without the new classes; the same when a run goes on."""
    path, names = model.training / "negatives.json", prepared.added_classes(model)
    wanted = {"classes": names, "count": settings.coco_negatives}
    before = files.read_json(path) if path.exists() else {}
    if isinstance(before, dict) and before.get("wanted") == wanted:
        found = [Image(name, name, 0, 0, [], path=Path(name)) for name in before.get("images", [])]
        if all(image.path.exists() for image in found):
            return found
    found = coco_negatives.fetch(names, settings.coco_negatives, say)
    if found and all(image.path for image in found):
        files.write_json(path, {"wanted": wanted, "images": [str(each.path) for each in found]})
    return found
