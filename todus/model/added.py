"""Classes added to kept ones: their label map, their training, and the model that they grow on."""

from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

from todus import categories, files, paths
from todus.errors import TodusError, UsageError
from todus.model import artefacts, checkpoints, class_slice, held, pipeline, zoo
from todus.model.pipeline_options import Options
from todus.paths import Model

# Of the columns alone: docs/training.md has the measurements.
RATE = 0.005
MOMENTUM = 0.9
BATCH = 8
PASSES = 10
STEPS = (300, 3000)  # least and most
WARM_UP = 20  # one step in so many


def names(
    keep: str, zoo_names: Mapping[int, str], own: Mapping[int, str]
) -> Tuple[Dict[int, str], List[str]]:
    """The label map, kept classes first, and the added classes.

    Args:
      keep: classes of the model, as in CATEGORIES, or "all".
      zoo_names: the label map of the model.
      own: the label map of the dataset; its classes that are not kept are added.

    Raises:
      UsageError: an unknown class, or nothing to add.
    """
    kept = list(categories.choose(keep, zoo_names, "the model's classes").values())
    there = set(map(categories.canonical, kept))
    added = [name for _, name in sorted(own.items()) if categories.canonical(name) not in there]
    if not added:
        text = "--keep names every class of the dataset (%s); leave out those to be trained"
        raise UsageError(text % ", ".join(own.values()))
    return dict(enumerate(kept + added, start=1)), added


def check(config: pipeline.Config, quantize: bool) -> None:
    """Raises TodusError for a model whose other classes cannot stay as they are."""
    what = ""
    if pipeline.architecture(config) != "ssd":
        what = "is no SSD: classes share a softmax"
    elif not class_slice.is_exact(config):
        what = "has a softmax over its classes"
    elif "spaghettinet" in pipeline.extractor(config):
        what = "takes batches of one size only"
    elif not pipeline.input_size(config):
        what = "takes images of any size"
    if what:
        text = "--keep: %s %s; train all classes instead, without --keep"
        raise TodusError(text % (pipeline.extractor(config), what))
    if quantize and not pipeline.is_quantized(config):
        raise TodusError(
            "--keep trains no ranges for -q; take a quantized model of the zoo "
            "(python -m model --list), or FORMAT=int8 ./convert-tflite.sh without -q"
        )


def set_training(config: pipeline.Config, options: Options, images: int) -> Tuple[Options, str]:
    """Sets a training of the class columns alone.

    Args:
      config: changed in place.
      options: as given; those of them that are set win.
      images: in train.

    Returns:
      The options with steps, and a line for the user.
    """
    pipeline.freeze_batch_norm(config, config.model)
    train = config.train_config
    train.batch_size = BATCH
    train.optimizer.Clear()
    train.optimizer.use_moving_average = False
    train.optimizer.momentum_optimizer.momentum_optimizer_value = MOMENTUM
    cosine = train.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    batch = options.batch_size or BATCH
    steps = options.steps or max(STEPS[0], min(PASSES * images // batch, STEPS[1]))
    cosine.learning_rate_base, cosine.total_steps = RATE, steps
    cosine.warmup_learning_rate, cosine.warmup_steps = RATE / 10, steps // WARM_UP
    text = "only the new classes' columns are trained: %d steps of batch %d; all else is constant"
    return replace(options, steps=steps), text % (steps, batch)


def base_of(name: str, model: Model) -> Optional[Model]:
    """The model under model/ that a name means; None for one of the zoo.

    Raises UsageError where it is `model` itself.
    """
    if zoo.find(name) or "/" in name:
        return None
    base = paths.model(name)
    if not base.pipeline.exists():
        return None
    if base.folder == model.folder:
        raise UsageError("-m %s grows into another folder: give its name with --as" % name)
    return base


def copy_base(base: Model, new: Path) -> Dict:
    """Links the checkpoint, config, label map and graph of a model into the new pretrained/.

    The checkpoint is that of its export, else the one that ./export.sh takes. Returns the source.
    """
    exported = artefacts.exported(base.inference_graph).get("inference_graph") or {}
    prefix = held.choose(base, exported.get("checkpoint") or "")
    for path in prefix.parent.glob(prefix.name + ".*"):
        files.link_or_copy(path, new / ("model.ckpt" + path.name[len(prefix.name) :]))
    config = checkpoints.config_of(base, prefix)
    pipeline.write(new / "zoo-pipeline.config", config)
    files.link_or_copy(base.limited_label_map, new / "label_map.pbtxt")
    if exported and base.frozen_graph.exists():
        artefacts.graph_of(base, "inference_graph")
        files.link_or_copy(base.frozen_graph, new / base.zoo_frozen_graph.name)
    digest = files.sha256(str(prefix) + ".index")
    return {"zoo": base.name, "archive": "model/%s" % base.name, "archive_sha256": digest}
