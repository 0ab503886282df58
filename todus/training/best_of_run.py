"""Which checkpoint is exported by default: the best on val of the slice, best/ and the latest."""

import contextlib
from pathlib import Path
from typing import Callable, Dict, List, Optional

from todus import locks
from todus.detection.checkpoint import quantizes
from todus.errors import TodusError
from todus.model import checkpoints, held, prepared
from todus.paths import Dataset, Model
from todus.training import checkpoint_scoring, kept_checkpoints, metrics, run_record
from todus.training.settings import Scoring

Say = Callable[[str], None]


def choose(model: Model, prefix: str, say: Say) -> Path:
    """The checkpoint for CHECKPOINT_PREFIX; for "" the one with the highest AP in metrics.csv.

    Candidates without a row are evaluated first, in the graph that is exported. Where there is
    nothing to compare, it is the latest, or the slice before any training.

    Raises:
      UsageError, TodusError: as checkpoints.choose.
    """
    newest = checkpoints.latest(model)
    if prefix or not newest:
        return held.choose(model, prefix)
    latest = held.choose(model, "latest")
    candidates = {checkpoints.step_of(latest): latest}
    if checkpoints.best(model):
        best = held.choose(model, "best")
        candidates.setdefault(checkpoints.step_of(best), best)
    # A slice to which classes are added detects none of them.
    has_slice = kept_checkpoints.exists(model.limited_checkpoint)
    if has_slice and not prepared.added_classes(model):
        candidates[0] = model.limited_checkpoint
    quantized = {
        step: each
        for step, each in candidates.items()
        if quantizes(checkpoints.config_of(model, each), each)
    }
    candidates = quantized or candidates  # of a quantization-aware run, those with ranges
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    dataset = _dataset(model)
    if not dataset:
        say("%s, the latest: there is no val to compare it with others on" % latest.name)
        return latest
    rows = _rows(model, dataset, sorted(candidates.items()), say)
    top = metrics.best([row for row in rows if row["step"] in candidates])
    if not top:
        say("%s, the latest: metrics.csv has no AP to compare it by" % latest.name)
        return latest
    chosen = candidates[top["step"]]
    aps = {row["step"]: row["ap"] for row in rows}
    others = [
        "%s %s" % (checkpoints.described(each), _text(aps.get(step)))
        for step, each in sorted(candidates.items())
        if each != chosen
    ]
    values = (checkpoints.described(chosen), _text(top["ap"]), ", ".join(others))
    say("%s has the best AP on val, %s (%s); CHECKPOINT_PREFIX takes another" % values)
    return chosen


def _text(ap: Optional[float]) -> str:
    return "unknown" if ap is None else "%.4f" % ap


def _dataset(model: Model) -> Optional[Dataset]:
    """The model's dataset, where it is there and has val records."""
    with contextlib.suppress(TodusError):
        dataset = prepared.dataset_of(model)
        return dataset if dataset.shards("val") else None
    return None


def _rows(model: Model, dataset: Dataset, candidates: List, say: Say) -> List[Dict]:
    """The rows of the candidates on the same images; those that lack one are evaluated."""
    sample = run_record.last_start(run_record.read(model)).get("eval_sample") or 1
    scoring = Scoring(0, int(sample))
    images = checkpoint_scoring.scored_images(dataset, scoring)

    def rows() -> List[Dict]:
        return metrics.comparable(metrics.read(model), images)

    missing = [each for each in candidates if each[0] not in {row["step"] for row in rows()}]
    if missing:
        try:
            with locks.exclusive(model.training, "the training of %s" % model.name):
                config = checkpoints.config_of(model, checkpoints.latest(model)[1])
                scorer = checkpoint_scoring.Scorer(model, config, dataset, scoring, say)
                for step, prefix in missing:
                    scorer.score(step, prefix)
        except TodusError as error:
            say("not compared with %s: %s" % (checkpoints.described(missing[0][1]), error))
    return rows()
