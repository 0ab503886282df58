"""Reads, patches and writes pipeline.config, and gives a model's properties. No TensorFlow."""

import re
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from google.protobuf import text_format
from google.protobuf.message import Message
from object_detection.protos import pipeline_pb2

from todus import files
from todus.errors import TodusError

Config = pipeline_pb2.TrainEvalPipelineConfig

# Fields in the zoo's configs that the OD API has removed from its protos, without effect on
# inference. Of the messages of these configs only SsdFeatureExtractor reserves a number, 6.
REMOVED_FIELDS = {"SsdFeatureExtractor": {"batch_norm_trainable"}}

MOST_REMOVED = 100  # in one config; the zoo's have six at most

# The most of what the OD API makes this many of, in any message of a config.
MOST = {
    **dict.fromkeys(("num_layers", "min_level", "max_level", "scales_per_octave"), 100),
    "num_layers_before_predictor": 1000,
    **dict.fromkeys(("num_classes", "depth", "min_depth", "num_filters"), 100000),
    **dict.fromkeys(("height", "width", "min_dimension", "max_dimension"), 100000),
    **dict.fromkeys(("max_detections_per_class", "max_total_detections"), 1000000),
    "first_stage_max_proposals": 1000000,
}

_FIELD = re.compile(r'Message type "object_detection\.protos\.(\w+)" has no field named "(\w+)"')


def read(path: files.PathLike, warn: Optional[Callable[[str], None]] = None) -> Config:
    """The pipeline config in a text file.

    Args:
      path: a pipeline.config.
      warn: called with a line for each field of REMOVED_FIELDS that is left out.

    Raises:
      TodusError: the file is missing, an HTML page, or wrong at file:line:column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TodusError("%s is missing; run python -m model again" % path)
    except (OSError, UnicodeDecodeError) as error:
        text = "%s is not a text file (%s); restore the archive's pipeline.config"
        raise TodusError(text % (path, error))
    return parse(text, str(path), warn)


def parse(text: str, where: str, warn: Optional[Callable[[str], None]] = None) -> Config:
    """Like `read`, for text that came from `where`."""
    if re.match(r"\s*(<!doctype|<html|<\?xml)", text, re.IGNORECASE):
        hint = "%s is a web page, not a pipeline.config; on GitHub, download the file's raw form"
        raise TodusError(hint % where)
    for _ in range(MOST_REMOVED + 1):
        config = Config()
        try:
            text_format.Parse(text, config)
            break
        except text_format.ParseError as error:
            field = _FIELD.search(str(error))
            if not field or field.group(2) not in REMOVED_FIELDS.get(field.group(1), ()):
                hint = "%s:%s; correct that line, or take the archive's own pipeline.config"
                raise TodusError(hint % (where, _place(error)))
            text = _without_field(text, error.GetLine(), error.GetColumn(), where)
            if warn:
                line = "%s:%d: %s is no longer a field of the OD API; left out"
                warn(line % (where, error.GetLine(), field.group(2)))
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise TodusError("%s is not a pipeline.config (%s)" % (where, error))
    else:
        what = "%s has more than %d fields that the OD API has removed; take the archive's own"
        raise TodusError(what % (where, MOST_REMOVED))
    kind = config.model.WhichOneof("model")
    if kind not in ("ssd", "faster_rcnn"):
        raise TodusError(
            "%s has %s; a detection model's pipeline.config has "
            "model { ssd ... } or { faster_rcnn ... }" % (where, kind or "no model")
        )
    classes = meta(config).num_classes
    if classes < 1:
        hint = "%s: num_classes is %d; a detection model has 1 or more"
        raise TodusError(hint % (where, classes))
    for name, value in _numbers(config):
        if value > MOST.get(name, value):
            text = "%s: %s: %d is more than %d; correct it, or take the archive's own"
            raise TodusError(text % (where, name, value, MOST[name]))
    return config


def _numbers(message: Message) -> Iterator[Tuple[str, int]]:
    """Name and value of each whole number in a message and in those that it holds."""
    for field, value in message.ListFields():
        for each in value if field.label == field.LABEL_REPEATED else [value]:
            if isinstance(each, Message):
                yield from _numbers(each)
            elif isinstance(each, int):
                yield field.name, each


def _place(error: text_format.ParseError) -> str:
    message = re.sub(r"^(\d+):(\d+) : ", r"\1:\2: ", str(error))
    return message.replace("object_detection.protos.", "")


def _without_field(text: str, line: int, column: int, where: str) -> str:
    """`text` with the field at line:column (both from 1) replaced by spaces."""
    start = sum(len(each) for each in text.splitlines(keepends=True)[: line - 1]) + column - 1
    name = re.compile(r"\w+\s*:?\s*").match(text, start)
    end = name.end() if name else start
    if text[end : end + 1] in ("{", "<"):
        end = _end_of_message(text, end)
    else:
        value = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[^\s;,{}]+').match(text, end)
        end = value.end() if value else end
    if end <= start:
        raise TodusError("%s:%d:%d: a field without a value" % (where, line, column))
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _end_of_message(text: str, start: int) -> int:
    depth = 0
    for token in re.compile(r'"(?:[^"\\]|\\.)*"|#[^\n]*|[{}<>]').finditer(text, start):
        if token.group() in "{<":
            depth += 1
        elif token.group() in "}>":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)


def to_text(config: Config) -> str:
    return text_format.MessageToString(config, as_utf8=True)


def write(path: files.PathLike, config: Config) -> None:
    files.write_text(path, to_text(config))


def architecture(config: Config) -> str:
    """ "ssd" or "faster_rcnn", which includes R-FCN and Mask R-CNN."""
    return config.model.WhichOneof("model")


def meta(config: Config) -> Message:
    """config.model.ssd or config.model.faster_rcnn."""
    return getattr(config.model, architecture(config))


def extractor(config: Config) -> str:
    """The feature extractor's type, such as ssd_mobilenet_v1."""
    return meta(config).feature_extractor.type


def is_quantized(config: Config) -> bool:
    return config.HasField("graph_rewriter") and config.graph_rewriter.HasField("quantization")


def input_size(config: Config) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of a fixed_shape_resizer; None where the size follows the image."""
    resizer = meta(config).image_resizer
    if resizer.WhichOneof("image_resizer_oneof") != "fixed_shape_resizer":
        return None
    return resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width


def _final_stage(config: Config, name: str) -> Message:
    """The message `name` of an SSD, or of the second stage of a Faster R-CNN."""
    prefix = "" if architecture(config) == "ssd" else "second_stage_"
    return getattr(meta(config), prefix + name)


def post_processing(config: Config) -> Message:
    """The post_processing message of the final detections."""
    return _final_stage(config, "post_processing")


def non_max_suppression(config: Config) -> Message:
    """The batch_non_max_suppression of the final detections."""
    return post_processing(config).batch_non_max_suppression


def box_predictor(config: Config) -> str:
    """The kind of the box predictor, such as convolutional_box_predictor."""
    return _final_stage(config, "box_predictor").WhichOneof("box_predictor_oneof") or ""


# Extractors without hyperparameters of their own: without the override the OD API fails with "no
# arg_scope defined for the base feature extractor". For others the override would change batch
# normalisation, and so the output of the zoo's weights.
NEEDS_OVERRIDE = {"ssd_inception_v2", "ssd_inception_v3"}


def predicts_masks(config: Config) -> bool:
    """Whether the model is a Mask R-CNN."""
    if architecture(config) != "faster_rcnn":
        return False
    predictor = config.model.faster_rcnn.second_stage_box_predictor
    return predictor.mask_rcnn_box_predictor.predict_instance_masks


# "A few tens", the maintainers of the OD API advise for images without boxes:
# https://github.com/tensorflow/models/issues/2544#issuecomment-343331696
MIN_NEGATIVES = 20


def batch_norms(message: Message) -> Iterator[Message]:
    """Every batch_norm message that is set in a message, at any depth."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for each in value if field.label == field.LABEL_REPEATED else [value]:
            if field.name == "batch_norm":
                yield each
            yield from batch_norms(each)


def freeze_batch_norm(config: Config, part: Message) -> None:
    """Makes batch normalisation use and keep its moving averages while training.

    `part` is config.model, or the feature extractor. The layers that `part` gives hyperparameters
    obey their own; freeze_batchnorm reaches a backbone without the override, which has none.
    """
    for batch_norm in batch_norms(part):
        batch_norm.train = False
    if architecture(config) == "ssd":
        config.model.ssd.freeze_batchnorm = True
    else:
        config.model.faster_rcnn.feature_extractor.ClearField("batch_norm_trainable")


def optimizer(config: Config) -> Message:
    """The optimizer that is set, such as adam_optimizer; momentum_optimizer where none is."""
    message = config.train_config.optimizer
    return getattr(message, message.WhichOneof("optimizer") or "momentum_optimizer")


def optimizer_rates(config: Config) -> List[Tuple[Message, str]]:
    """(message, field name) of every learning rate in the optimizer; the first is the base rate."""
    schedule = optimizer(config).learning_rate
    kind = schedule.WhichOneof("learning_rate")
    if not kind:
        return []
    message = getattr(schedule, kind)
    names = [field.name for field in message.DESCRIPTOR.fields if "learning_rate" in field.name]
    steps = [(step, "learning_rate") for step in getattr(message, "schedule", [])]
    return [(message, name) for name in names] + steps


def drop_step_zero(config: Config) -> None:
    """Makes the rate of a manual step 0 the initial rate: the OD API refuses a step 0."""
    schedule = optimizer(config).learning_rate
    if schedule.WhichOneof("learning_rate") != "manual_step_learning_rate":
        return
    manual = schedule.manual_step_learning_rate
    while manual.schedule and manual.schedule[0].step == 0:
        manual.initial_learning_rate = manual.schedule[0].learning_rate
        del manual.schedule[0]


def set_batch_size(config: Config, batch_size: int) -> float:
    """Sets batch_size and scales every learning rate by the same factor, which is returned."""
    before = config.train_config.batch_size or batch_size
    factor = scale_learning_rates(config, batch_size / float(before))
    config.train_config.batch_size = batch_size
    return factor


def scale_learning_rates(config: Config, factor: float) -> float:
    """Multiplies every learning rate of the optimizer by the factor, which is returned."""
    for message, name in optimizer_rates(config):
        setattr(message, name, getattr(message, name) * factor)
    return factor


def set_learning_rate(config: Config, rate: float) -> None:
    """Sets a constant learning rate instead of the schedule."""
    optimizer(config).learning_rate.constant_learning_rate.learning_rate = rate


def set_num_steps(config: Config, steps: int) -> None:
    """Sets num_steps, and total_steps of a cosine schedule with it."""
    config.train_config.num_steps = steps
    schedule = optimizer(config).learning_rate
    if schedule.WhichOneof("learning_rate") == "cosine_decay_learning_rate":
        cosine = schedule.cosine_decay_learning_rate
        cosine.warmup_steps = min(cosine.warmup_steps, steps // 10)
        cosine.total_steps = max(steps, 1)


def default_delay(config: Config) -> int:
    """The steps before quantization begins, where none are given: a tenth of all."""
    return max(1, config.train_config.num_steps // 10)


def set_quantization(config: Config, delay: int) -> None:
    """Sets quantization-aware training with 8 bits from step `delay` on."""
    quantization = config.graph_rewriter.quantization
    quantization.delay = delay
    quantization.weight_bits = quantization.activation_bits = 8


def set_inputs(config: Config, label_map: Path, shards: Dict[str, str], eval_images: int) -> None:
    """Sets a dataset in both input readers.

    Args:
      config: changed in place.
      label_map: the dataset's label map.
      shards: "train" and "val" -> glob of their shards.
      eval_images: images in val.
    """
    for reader, split in ((config.train_input_reader, "train"), (eval_reader(config), "val")):
        reader.label_map_path = str(label_map)
        del reader.tf_record_input_reader.input_path[:]
        if split in shards:
            reader.tf_record_input_reader.input_path.append(shards[split])
    config.eval_config.num_examples = eval_images
    config.eval_config.ClearField("max_evals")


def eval_reader(config: Config) -> Message:
    """The first eval_input_reader, added where there is none; others are removed."""
    readers = config.eval_input_reader
    del readers[1:]
    return readers[0] if readers else readers.add()


def set_fine_tuning(config: Config, checkpoint: Path, kind: str = "detection") -> None:
    """Sets the start of training: a detection checkpoint's weights, or a classifier's features.

    `kind` is fine_tune_checkpoint_type: detection or classification.
    """
    train = config.train_config
    train.fine_tune_checkpoint = str(checkpoint)
    train.fine_tune_checkpoint_type = kind
    train.ClearField("from_detection_checkpoint")
    train.ClearField("load_all_detection_checkpoint_vars")
    if kind == "detection":
        train.load_all_detection_checkpoint_vars = True


def set_min_negatives(config: Config) -> None:
    """Sets min_negatives_per_image of a hard example miner that ignores images without boxes.

    It keeps max_negatives_per_positive negative anchors for each positive one, of which these
    images have none.
    """
    if architecture(config) != "ssd" or not config.model.ssd.loss.HasField("hard_example_miner"):
        return
    miner = config.model.ssd.loss.hard_example_miner
    if miner.max_negatives_per_positive > 0 and miner.min_negatives_per_image == 0:
        miner.min_negatives_per_image = MIN_NEGATIVES


def set_mask_depth(config: Config, depth: int) -> None:
    """Sets the channels of a mask head, which would otherwise depend on the number of classes."""
    if architecture(config) != "faster_rcnn" or not depth:
        return
    head = config.model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor
    if head.predict_instance_masks and head.mask_prediction_conv_depth == 0:
        head.mask_prediction_conv_depth = depth


def set_one_replica(config: Config) -> None:
    """Sets one replica: the zoo's configs are for many synchronous workers."""
    train = config.train_config
    train.ClearField("sync_replicas")
    train.ClearField("replicas_to_aggregate")
    train.ClearField("startup_delay_steps")


def set_override_hyperparams(config: Config) -> None:
    if architecture(config) == "ssd" and extractor(config) in NEEDS_OVERRIDE:
        config.model.ssd.feature_extractor.override_base_feature_extractor_hyperparams = True


def changes(before: Message, after: Message) -> List[str]:
    """`field.path: old -> new` of each field that differs between two messages of one type."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    paths = [*old, *(path for path in new if path not in old)]
    pairs = ((path, old.get(path, "(unset)"), new.get(path, "(unset)")) for path in paths)
    return ["%s: %s -> %s" % (path, left, right) for path, left, right in pairs if left != right]


def _leaves(message: Message, prefix: str = "") -> Iterator[Tuple[str, str]]:
    for field, value in message.ListFields():
        repeated = field.label == field.LABEL_REPEATED
        for number, each in enumerate(value if repeated else [value]):
            name = prefix + field.name + ("[%d]" % number if repeated else "")
            if field.type == field.TYPE_MESSAGE:
                inner = list(_leaves(each, name + "."))
                yield from inner or [(name, "{}")]
            elif field.type == field.TYPE_ENUM:
                yield name, field.enum_type.values_by_number[each].name
            else:
                yield name, "%.6g" % each if isinstance(each, float) else repr(each)
