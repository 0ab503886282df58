"""What the exports of a checkpoint share: its config, the call of the OD API, what is recorded of it."""

from pathlib import Path
from typing import Any, Dict, Optional

from todus import __version__, categories, files
from todus.detection.checkpoint import quantizes
from todus.errors import TodusError
from todus.model import artefacts, checkpoints, pipeline, prepared
from todus.paths import Model
from todus.text import first_line


def config_for(model: Model, prefix: Path, score_threshold: Optional[float]) -> pipeline.Config:
    """The model's pipeline config as a checkpoint is exported with: without quantization where that has not begun."""
    config = prepared.resolved(model)
    if score_threshold is not None:
        pipeline.non_max_suppression(config).score_threshold = score_threshold
    if pipeline.is_quantized(config) and not quantizes(config, prefix):
        config.ClearField("graph_rewriter")
    return config


def run_exporter(function, *arguments, **options) -> None:
    """Calls an exporter of the OD API; a checkpoint that does not fit its config becomes one line."""
    from todus.tf import tf

    try:
        function(*arguments, **options)
    except (tf.errors.OpError, ValueError) as error:
        text = "the checkpoint cannot be exported with pipeline.config (%s); was the model prepared again since?"
        raise TodusError(text % first_line(error))


def not_quantized_because(model: Model, prefix: Path, config: pipeline.Config) -> Optional[str]:
    """Why a checkpoint of a quantization-aware model cannot become uint8, with the step that it needs; None where it can."""
    delay = config.graph_rewriter.quantization.delay
    step = checkpoints.step_of(prefix)
    if quantizes(config, prefix):
        return None
    if not pipeline.is_quantized(config):
        return "it was not trained quantization-aware; prepare the model with -q and train it"
    name = "the slice" if checkpoints.is_slice(prefix) else "%s, at step %d," % (prefix.name, step)
    return (
        "%s has no trained ranges: fake quantization begins at step %d; train beyond it: NUM_TRAIN_STEPS=%d ./train.sh"
        % (
            name,
            delay,
            max(2 * delay, delay + 500),
        )
    )


def origin_of(model: Model, prefix: Path, config: pipeline.Config) -> Dict[str, Any]:
    """What export.json says of a graph: its checkpoint, its classes and input size, how it was made."""
    return {
        **artefacts.recorded(
            artefacts.identity(categories.read_label_map(model.limited_label_map), config)
        ),
        "not_quantized_because": not_quantized_because(model, prefix, prepared.resolved(model)),
        "checkpoint": checkpoints.name_of(prefix),
        "checkpoint_sha256": files.sha256(str(prefix) + ".index"),
        "step": checkpoints.step_of(prefix),
        "quantized": pipeline.is_quantized(config),
        "score_threshold": pipeline.non_max_suppression(config).score_threshold,
        "todus": __version__,
    }


def describe(model: Model, folder: Path, config: pipeline.Config, origin: Dict) -> None:
    """Puts the config, the label map, labels.txt and what was exported from what beside the graphs."""
    names = categories.read_label_map(model.limited_label_map)
    pipeline.write(folder / "pipeline.config", config)
    categories.write_label_map(folder / "label_map.pbtxt", names)
    files.write_text(folder / "labels.txt", "\n".join(categories.labels(names)) + "\n")
    files.write_json(folder / "export.json", dict(artefacts.exported(folder), **origin))
