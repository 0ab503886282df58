"""What the exports of a checkpoint share: its config, the call of the OD API, the record of it."""

import contextlib
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from todus import __version__, categories, files
from todus.detection.checkpoint import quantizes
from todus.errors import TodusError
from todus.model import artefacts, checkpoint_values, checkpoints, heads, pipeline
from todus.paths import Model
from todus.text import first_line


def config_for(model: Model, prefix: Path, score_threshold: Optional[float]) -> pipeline.Config:
    """The config with which a checkpoint is exported: quantized once fake quantization has begun.

    Args:
      model: a prepared model.
      prefix: the checkpoint.
      score_threshold: of non-max suppression; None keeps the config's.
    """
    config = checkpoints.config_of(model, prefix)
    if score_threshold is not None:
        pipeline.non_max_suppression(config).score_threshold = score_threshold
    if pipeline.is_quantized(config) and not quantizes(config, prefix):
        config.ClearField("graph_rewriter")
    return config


@contextlib.contextmanager
def weights_of(model: Model, prefix: Path, config: pipeline.Config) -> Iterator[Path]:
    """Yields the checkpoint to export.

    Where eval_config uses moving averages, it is a copy with them as weights, and the config, which
    describes the export, no longer asks for them: the OD API's exporters would fail for a weight
    without an average, such as a frozen one.
    """
    if not config.eval_config.use_moving_averages:
        yield prefix
        return
    config.eval_config.use_moving_averages = False
    with files.scratch(model.folder / "weights") as folder:
        copy = folder / "model.ckpt"
        values = checkpoint_values.read_checkpoint(prefix)
        checkpoint_values.write_checkpoint(copy, checkpoint_values.averaged(values))
        yield copy


def run_exporter(function, *arguments, **options) -> None:
    """Calls an exporter of the OD API. Raises TodusError where the checkpoint and config differ."""
    from todus.tf import tf

    heads.install()
    try:
        function(*arguments, **options)
    except (tf.errors.OpError, ValueError) as error:
        what = "the checkpoint cannot be exported with pipeline.config (%s)" % first_line(error)
        raise TodusError("%s; was the model prepared again since?" % what)


def not_quantized_because(model: Model, prefix: Path, config: pipeline.Config) -> Optional[str]:
    """Why a checkpoint cannot become uint8, and the step that it needs; None where it can."""
    if quantizes(config, prefix):
        return None
    if not pipeline.is_quantized(config):
        return "it was not trained quantization-aware; prepare the model with -q and train it"
    delay = config.graph_rewriter.quantization.delay
    at_step = "%s, at step %d," % (prefix.name, checkpoints.step_of(prefix))
    name = "the slice" if checkpoints.is_slice(prefix) else at_step
    what = "%s has no trained ranges: fake quantization begins at step %d" % (name, delay)
    steps = max(2 * delay, delay + 500)
    return "%s; train beyond it: NUM_TRAIN_STEPS=%d ./train.sh" % (what, steps)


def origin_of(model: Model, prefix: Path, config: pipeline.Config) -> Dict[str, Any]:
    """A graph's entry in export.json: its checkpoint, classes and input size, and the settings."""
    names = categories.read_label_map(model.limited_label_map)
    return {
        **artefacts.recorded(artefacts.identity(names, config)),
        "not_quantized_because": not_quantized_because(
            model, prefix, checkpoints.config_of(model, prefix)
        ),
        "checkpoint": checkpoints.name_of(prefix),
        "checkpoint_sha256": files.sha256(str(prefix) + ".index"),
        "step": checkpoints.step_of(prefix),
        "quantized": pipeline.is_quantized(config),
        "score_threshold": pipeline.non_max_suppression(config).score_threshold,
        "todus": __version__,
    }


def describe(model: Model, folder: Path, config: pipeline.Config, origin: Dict) -> None:
    """Writes pipeline.config, the label map, labels.txt and export.json beside the graphs.

    export.json gets the entries in `origin`, with the digests of their graphs' files.
    """
    for graph, entry in origin.items():
        entry["sha256"] = artefacts.digests(folder, graph)
    names = categories.read_label_map(model.limited_label_map)
    pipeline.write(folder / "pipeline.config", config)
    categories.write_label_map(folder / "label_map.pbtxt", names)
    files.write_text(folder / "labels.txt", "\n".join(categories.labels(names)) + "\n")
    files.write_json(folder / "export.json", dict(artefacts.exported(folder), **origin))
