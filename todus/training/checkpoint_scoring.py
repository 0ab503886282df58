"""Evaluation while training: checkpoints wait in training/pending/, each is scored once, the best stays in training/best/."""

import contextlib
import time
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from todus import categories, files
from todus.errors import TodusError
from todus.model import checkpoints, pipeline
from todus.paths import Dataset, Model
from todus.training import eval_sample, metrics, run_record
from todus.training.settings import Scoring

PICTURES = 6  # side by side, for TensorBoard


class GivenUp(Exception):
    """The evaluation was left because the run shall stop."""


def pending(model: Model) -> List[Tuple[int, Path]]:
    """(step, prefix) of the checkpoints that wait to be scored, by step."""
    done = set(metrics.steps(model))
    found = [
        (checkpoints.step_of(path.with_suffix("")), path.with_suffix(""))
        for path in _folder(model).glob("model.ckpt-*.index")
    ]
    return sorted(each for each in found if each[0] not in done)


def _folder(model: Model) -> Path:
    return model.training / "pending"


def put(model: Model, prefix: Path) -> None:
    """Lets a checkpoint wait for its evaluation, whatever becomes of it in training/."""
    _folder(model).mkdir(exist_ok=True)
    link_checkpoint(prefix, _folder(model))


def link_checkpoint(prefix: Path, folder: Path) -> None:
    """A checkpoint once more in `folder`, without its bytes where the disk can do that; the index comes last."""
    for path in sorted(
        prefix.parent.glob(prefix.name + ".*"), key=lambda path: path.suffix == ".index"
    ):
        files.link_or_copy(path, folder / path.name)


def _remove(prefix: Path) -> None:
    for path in sorted(
        prefix.parent.glob(prefix.name + ".*"), key=lambda path: path.suffix != ".index"
    ):
        path.unlink()
    with contextlib.suppress(OSError):
        prefix.parent.rmdir()


def catch_up(model: Model, scoring: Scoring, num_steps: int) -> None:
    """Puts what a killed run owes: its newest checkpoint, when that one's step is to be scored and has no row."""
    newest = checkpoints.latest(model)
    if not scoring.every or not newest or newest[0] in metrics.steps(model):
        return
    if newest[0] and (newest[0] % scoring.every == 0 or newest[0] >= num_steps):
        put(model, newest[1])


class Scorer:
    """Scores the waiting checkpoints of a model.

    Args:
      model: a prepared model; config: of its run; dataset: has val records.
      scoring: how.
      say: takes a line for each result.
      give_up: asked between images; an evaluation that is left is done at the next start.
    """

    def __init__(
        self,
        model: Model,
        config: pipeline.Config,
        dataset: Dataset,
        scoring: Scoring,
        say: Callable[[str], None],
        give_up: Callable[[], bool] = lambda: False,
    ):
        self.model, self.config, self.dataset, self.scoring = model, config, dataset, scoring
        self._say, self._give_up = say, give_up
        self._names = categories.read_label_map(model.limited_label_map)

    def first(self) -> None:
        """Scores the slice, as step 0, when it has no row yet."""
        if 0 in metrics.steps(self.model):
            return
        prefix = self.model.limited_checkpoint
        if not Path(str(prefix) + ".index").exists():
            prefix = self.model.training / "model.ckpt-0"
        if Path(str(prefix) + ".index").exists():
            self._score(0, prefix)

    def work(self) -> int:
        """Scores every waiting checkpoint; returns how many. Ends early when it shall give up."""
        done = 0
        for step, prefix in pending(self.model):
            if not self._score(step, prefix):
                return done
            _remove(prefix)
            done += 1
        for path in _folder(self.model).glob("model.ckpt-*.index"):
            if checkpoints.step_of(path.with_suffix("")) in metrics.steps(self.model):
                _remove(path.with_suffix(""))
        return done

    def _score(self, step: int, prefix: Path) -> bool:
        from todus.detection import checkpoint

        started = time.perf_counter()
        try:
            detector = checkpoint.Checkpoint(prefix, self.config, self._names)
            result = self._evaluate(detector, "val")
            train = self._evaluate(detector, "train") if self.scoring.train_too else None
        except GivenUp:
            return False
        row = {
            "step": step,
            "time": run_record.now(),
            "seconds": time.perf_counter() - started,
            "sample": self.scoring.sample,
        }
        row.update(
            images=result.images,
            **{name: result.stats[name] for name in ("ap", "ap50", "ap75", "ar100")},
        )
        if train:
            row.update(train_images=train.images, train_ap=train.ap, train_ap50=train.stats["ap50"])
        self._keep_best(step, prefix, row["ap"])
        metrics.add(self.model, row)
        self._summaries(row, detector)
        more = "   train AP %.4f" % row["train_ap"] if train else ""
        self._say(
            "step %d   AP %.4f   AP50 %.4f%s   %d images in %.0f s"
            % (step, row["ap"], row["ap50"], more, row["images"], row["seconds"])
        )
        return True

    def _evaluate(self, detector, split: str):
        from todus.evaluation import average_precision

        dataset = eval_sample.of(self.model, self.dataset, split, self.scoring.sample)
        return average_precision.evaluate(detector, dataset, split, tick=self._tick)

    def _tick(self, _done: int) -> None:
        if self._give_up():
            raise GivenUp

    def _pictures(self, detector):
        """A few val images, each with what is detected in it."""
        from todus.dataset import image_files
        from todus.evaluation import average_precision

        for example in average_precision.examples_of(self.dataset, "val", PICTURES):
            yield example, detector.detect([image_files.decode(example.encoded)])[0]

    def _keep_best(self, step: int, prefix: Path, ap: float) -> None:
        """A better checkpoint takes the place of training/best/; step 0 is the slice, which stays where it is."""
        top = metrics.best([row for row in metrics.read(self.model) if row["step"] > 0])
        if step == 0 or ap != ap or (top and top["ap"] >= ap and checkpoints.best(self.model)):
            return
        with files.replacing_folder(self.model.training / "best") as folder:
            link_checkpoint(prefix, folder)

    def _summaries(self, row: metrics.Row, detector) -> None:
        """AP and side-by-side images for TensorBoard."""
        from todus.tf import tf

        from todus.training import side_by_side

        scores = [(name, row.get(name)) for name in ("ap", "ap50", "ap75", "ar100", "train_ap")]
        values = [
            tf.Summary.Value(tag="AP/" + name, simple_value=value)
            for name, value in scores
            if value is not None
        ]
        for example, found in self._pictures(detector):
            png, size = side_by_side.side_by_side(example, found, self._names)
            image = tf.Summary.Image(
                height=size[1], width=size[0], colorspace=3, encoded_image_string=png
            )
            values.append(
                tf.Summary.Value(
                    tag="side by side/%s" % (example.file_name or example.source_id), image=image
                )
            )
        writer = tf.summary.FileWriter(str(self.model.training / "eval"))
        writer.add_summary(tf.Summary(value=values), row["step"])
        writer.close()


def target_ap(model: Model, target: str) -> Optional[float]:
    """TARGET_AP as a number: itself, or what the slice scored at step 0 for `pretrained`. None for "", and while step 0 has no row."""
    if target != "pretrained":
        return float(target) if target else None
    return next((row["ap"] for row in metrics.read(model) if row["step"] == 0), None)


def check_can_score(model: Model, dataset: Dataset, scoring: Scoring, target: str) -> None:
    """Raises TodusError when there are no val records to score on, or no slice whose AP could be the target."""
    if target == "pretrained" and not Path(str(model.limited_checkpoint) + ".index").exists():
        raise TodusError(
            "TARGET_AP=pretrained: %s starts with a fresh head, which detects nothing; give a number"
            % model.name
        )
    if scoring.every and not dataset.shards("val"):
        raise TodusError(
            'dataset %s has no val records; make it with SPLITS="train val", or set EVAL_STEPS=0'
            % dataset.name
        )
