"""Chooses a checkpoint: CHECKPOINT_PREFIX is model.ckpt-N, latest, best or pretrained."""

import re
from pathlib import Path
from typing import List, Optional, Tuple

from todus.errors import TodusError, UsageError
from todus.model import artefacts, pipeline, prepared
from todus.paths import Model


def trained(model: Model) -> List[Tuple[int, Path]]:
    """(step, prefix) of the complete checkpoints in training/, by step."""
    found = []
    for index in model.training.glob("model.ckpt-*.index"):
        match = re.fullmatch(r"model\.ckpt-(\d+)\.index", index.name)
        if match and any(model.training.glob("model.ckpt-%s.data-*" % match.group(1))):
            found.append((int(match.group(1)), index.with_suffix("")))
    return sorted(found)


def latest(model: Model) -> Optional[Tuple[int, Path]]:
    return (trained(model) or [None])[-1]


def best(model: Model) -> Optional[Path]:
    """The checkpoint with the best AP that training kept; None where there is none."""
    indexes = sorted(model.training.glob("best/model.ckpt-*.index"))
    return indexes[-1].with_suffix("") if indexes else None


def choose(model: Model, prefix: str = "") -> Path:
    """The checkpoint's path without suffix.

    Args:
      model: a prepared model.
      prefix: "" is the latest in training/, else the slice; or pretrained, latest, best,
        model.ckpt-N or a path.

    Raises:
      UsageError: there is none of that name; the message lists the existing ones.
      TodusError: it was trained for other classes than the model is prepared for.
    """
    chosen = _choose(model, prefix)
    if not is_slice(chosen):
        artefacts.check_run(model, chosen)
    return chosen


def _choose(model: Model, prefix: str) -> Path:
    newest = latest(model)
    if prefix == "pretrained" or (not prefix and not newest):
        if Path(str(model.limited_checkpoint) + ".index").exists():
            return model.limited_checkpoint
        if (prepared.prepared_from(model) or {}).get("start", "slice") == "slice":
            raise TodusError("%s is missing; run python -m model again" % model.limited_checkpoint)
        text = "%s has a fresh head, which detects nothing before training: ./train.sh"
        raise TodusError(text % model.name)
    if prefix in ("", "latest") and newest:
        return newest[1]
    if prefix == "best" and best(model):
        return best(model)
    for path in (model.training / prefix, model.training / "best" / prefix, Path(prefix)):
        if prefix and Path(str(path) + ".index").exists():
            return path
    there = ["pretrained"] + [path.name for _, path in trained(model)]
    there += ["best"] if best(model) else []
    text = "CHECKPOINT_PREFIX=%s is not in %s; choose from %s"
    raise UsageError(text % (prefix, model.training, ", ".join(there)))


def is_slice(prefix: Path) -> bool:
    """Whether a checkpoint is the slice."""
    return prefix.parent.name == "limited"


def name_of(prefix: Path) -> str:
    """The CHECKPOINT_PREFIX of a checkpoint; pretrained for the slice."""
    return "pretrained" if is_slice(prefix) else prefix.name


def described(prefix: Path) -> str:
    """A checkpoint's name in a sentence."""
    return "the slice" if is_slice(prefix) else prefix.name


def step_of(prefix: Path) -> int:
    """The training step in a checkpoint's name; 0 for the slice."""
    match = re.search(r"-(\d+)$", prefix.name)
    return int(match.group(1)) if match else 0


def config_of(model: Model, prefix: Path) -> pipeline.Config:
    """The model's pipeline config, with the quantization delay of the run of a checkpoint."""
    config = prepared.resolved(model)
    path = artefacts.run_folder(prefix) / "pipeline.config"
    if pipeline.is_quantized(config) and not is_slice(prefix) and path.exists():
        run = pipeline.read(path)
        if pipeline.is_quantized(run):
            pipeline.set_quantization(config, run.graph_rewriter.quantization.delay)
    return config


def passed_delay(model: Model) -> Optional[int]:
    """The quantization delay of the run in training/, where its newest checkpoint is past it."""
    newest = latest(model)
    if not newest or not (model.training / "pipeline.config").exists():
        return None
    run = pipeline.read(model.training / "pipeline.config")
    delay = run.graph_rewriter.quantization.delay
    return delay if pipeline.is_quantized(run) and newest[0] >= delay else None
