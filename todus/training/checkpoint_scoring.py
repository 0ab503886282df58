"""Evaluation while training.

Each checkpoint in training/pending/ is scored once; the best one is kept in training/best/.
"""

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from todus import categories, files
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import checkpoint_files, checkpoints, pipeline
from todus.paths import Dataset, Model
from todus.progress import Ticker
from todus.training import eval_sample, kept_checkpoints, metrics, run_record
from todus.training.settings import Scoring

PICTURES = 6  # val images that TensorBoard shows, with groundtruth and detections side by side


class Interrupted(Exception):
    """The evaluation was interrupted because the run is to stop."""


def pending(model: Model) -> List[Tuple[int, Path]]:
    """(step, prefix) of the pending checkpoints that are not scored yet, by step."""
    done = set(metrics.steps(model))
    return sorted(each for each in _in_folder(model) if each[0] not in done)


def _folder(model: Model) -> Path:
    return model.training / "pending"


def _in_folder(model: Model) -> List[Tuple[int, Path]]:
    prefixes = [path.with_suffix("") for path in _folder(model).glob("model.ckpt-*.index")]
    return [(checkpoints.step_of(prefix), prefix) for prefix in prefixes]


def _remove(prefix: Path) -> None:
    kept_checkpoints.remove(prefix)
    with contextlib.suppress(OSError):
        prefix.parent.rmdir()


def add(model: Model, prefix: Path) -> None:
    """Adds a checkpoint to training/pending/, where it stays when training/ drops it."""
    _folder(model).mkdir(exist_ok=True)
    kept_checkpoints.link(prefix, _folder(model))


def add_missed(model: Model, scoring: Scoring, num_steps: int) -> None:
    """Adds the newest checkpoint, where a killed run has not scored it though it is due."""
    newest = checkpoints.latest(model)
    if not scoring.every or not newest or newest[0] in metrics.steps(model):
        return
    if newest[0] and (newest[0] % scoring.every == 0 or newest[0] >= num_steps):
        add(model, newest[1])


@dataclass
class Scorer:
    """Scores the pending checkpoints of a model.

    Attributes:
      model: a prepared model; `config` is the pipeline config of its run.
      dataset: with val records.
      say: takes a line for each result.
      is_interrupted: called after each image; when it returns True, the evaluation ends without a
        result, and is made at the next start.
    """

    model: Model
    config: pipeline.Config
    dataset: Dataset
    scoring: Scoring
    say: Callable[[str], None]
    is_interrupted: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._names = categories.read_label_map(self.model.limited_label_map)
        self._images = scored_images(self.dataset, self.scoring)
        self._detector = None

    def _comparable(self) -> List[metrics.Row]:
        return metrics.comparable(metrics.read(self.model), self._images)

    def score_references(self, slice_too: bool) -> None:
        """Scores what results are compared with, where it has no row of these images.

        That is the checkpoint in best/ and, with `slice_too`, the slice, or a fresh head's first
        checkpoint, as step 0.
        """
        done = {row["step"] for row in self._comparable()}
        best = checkpoints.best(self.model)
        if best and checkpoints.step_of(best) not in done:
            self.score(checkpoints.step_of(best), best)
        if not slice_too or 0 in done:
            return
        for prefix in (self.model.limited_checkpoint, self.model.training / "model.ckpt-0"):
            if kept_checkpoints.exists(prefix):
                self.score(0, prefix)
                return

    def score_pending(self) -> None:
        """Scores every pending checkpoint, by step, unless interrupted."""
        for step, prefix in pending(self.model):
            if not self.score(step, prefix):
                return
            _remove(prefix)
        for step, prefix in _in_folder(self.model):
            if step in metrics.steps(self.model):
                _remove(prefix)

    def score(self, step: int, prefix: Path) -> bool:
        """Adds a row for a checkpoint; returns False when interrupted."""
        from todus.detection import checkpoint

        started = time.perf_counter()
        try:
            if not self._detector or not self._detector.reopen(prefix):
                self._detector = checkpoint.Checkpoint(prefix, self.config, self._names)
            detector = self._detector
            result = self._evaluate(detector, "val")
            train = self._evaluate(detector, "train") if self.scoring.train_too else None
        except Interrupted:
            return False
        row = {
            "step": step,
            "time": run_record.now(),
            "seconds": time.perf_counter() - started,
            **self._images,
            "images": result.images,
            **{name: result.stats[name] for name in ("ap", "ap50", "ap75", "ar100")},
        }
        if train:
            row.update(train_images=train.images, train_ap=train.ap, train_ap50=train.stats["ap50"])
        self._keep_best(step, prefix, row["ap"])
        metrics.add(self.model, row)
        self._write_summaries(row, detector)
        more = "   train AP %.4f" % row["train_ap"] if train else ""
        self.say(
            "step %d   AP %.4f   AP50 %.4f%s   %d images in %.0f s"
            % (step, row["ap"], row["ap50"], more, row["images"], row["seconds"])
        )
        return True

    def _evaluate(self, detector, split: str):
        from todus.evaluation import average_precision

        dataset = eval_sample.of(self.model, self.dataset, split, self.scoring.sample)
        total = reader.read_manifest(dataset)["splits"].get(split, {}).get("images", 0)
        said = Ticker("evaluating: %d of %d images", total, self.say)

        def tick(done: int) -> None:
            if self.is_interrupted():
                raise Interrupted
            said(done)

        return average_precision.evaluate(detector, dataset, split, tick=tick)

    def _keep_best(self, step: int, prefix: Path, ap: float) -> None:
        """Links a checkpoint with a higher AP into training/best/; never the slice, step 0."""
        kept = checkpoints.best(self.model)
        top = metrics.best([row for row in self._comparable() if row["step"] > 0])
        is_better = not top or round(ap, metrics.DIGITS) > top["ap"]
        if (
            step == 0
            or ap != ap
            or checkpoint_files.shown(prefix) == kept
            or (kept and not is_better)
        ):
            return
        with files.replacing_folder(self.model.training / "best") as folder:
            kept_checkpoints.link(prefix, folder)

    def _write_summaries(self, row: metrics.Row, detector) -> None:
        """AP and side-by-side images for TensorBoard."""
        from todus.tf import tf

        from todus.dataset import image_files
        from todus.evaluation import average_precision
        from todus.training.side_by_side import side_by_side

        scores = [(name, row.get(name)) for name in ("ap", "ap50", "ap75", "ar100", "train_ap")]
        values = [
            tf.Summary.Value(tag="AP/" + name, simple_value=value)
            for name, value in scores
            if value is not None
        ]
        for example in average_precision.examples_of(self.dataset, "val", PICTURES):
            found = detector.detect([image_files.decode(example.encoded)])[0]
            png, (width, height) = side_by_side(example, found, self._names)
            image = tf.Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=png
            )
            tag = "side by side/%s" % (example.file_name or example.source_id)
            values.append(tf.Summary.Value(tag=tag, image=image))
        writer = tf.summary.FileWriter(str(self.model.training / "eval"))
        writer.add_summary(tf.Summary(value=values), row["step"])
        writer.close()


def scored_images(dataset: Dataset, scoring: Scoring) -> metrics.Row:
    """The columns of a row that tell which images it was scored on."""
    shards = reader.read_manifest(dataset)["splits"].get("val", {}).get("shards") or []
    digests = "".join(str(shard.get("sha256")) for shard in shards)
    digest = hashlib.sha256(digests.encode("utf-8")).hexdigest()[:16] if digests else ""
    return {"sample": scoring.sample, "val": digest}


def target_ap(rows: List[metrics.Row], target: str) -> Optional[float]:
    """TARGET_AP as a number; "pretrained" is the AP of the slice at step 0.

    None for "", and for "pretrained" while step 0 has no row.
    """
    if target != "pretrained":
        return float(target) if target else None
    return next((row["ap"] for row in rows if row["step"] == 0), None)


def check_can_score(model: Model, dataset: Dataset, scoring: Scoring, target: str) -> None:
    """Raises TodusError without val records, or for TARGET_AP=pretrained without a slice."""
    if target == "pretrained" and not kept_checkpoints.exists(model.limited_checkpoint):
        raise TodusError(
            "TARGET_AP=pretrained: %s starts with a fresh head, which detects nothing; "
            "set TARGET_AP to a number" % model.name
        )
    if scoring.every and not dataset.shards("val"):
        raise TodusError(
            'dataset %s has no val records; make it with SPLITS="train val", or set EVAL_STEPS=0'
            % dataset.name
        )
