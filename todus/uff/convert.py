"""From a model's directory to MODEL.uff, MODEL.uff.json and, when asked for, MODEL.pbtxt."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np

from todus import categories, files, locks, paths
from todus.errors import TodusError
from todus.model import artefacts, pipeline, prepared
from todus.uff import scopes as scopes_of
from todus.uff import settings as settings_of
from todus.uff.settings import ELSEWHERE, Settings

# Anchors of a graph that differ by more than this, relative to the image, are not those of the plugin.
ANCHOR_TOLERANCE = 1e-5

PLUGINS = ["FlattenConcat_TRT", "GridAnchor_TRT", "NMS_TRT"]

# Enough for these networks, and what NVIDIA's own samples take.
WORKSPACE_BYTES = 1 << 28


@dataclass
class Source:
    """What is converted: one frozen graph with its own pipeline and its own classes."""

    graph: Path
    pipeline: Path
    label_map: Path


def source(model: paths.Model, trained: bool) -> Source:
    """The exported graph with its classes, or the zoo's own graph with the zoo's."""
    if trained:
        return Source(model.frozen_graph, model.exported_pipeline, model.exported_label_map)
    return Source(model.zoo_frozen_graph, model.zoo_pipeline, model.zoo_label_map)


def zoo_name(model: paths.Model) -> str:
    """The zoo's name of what the model was prepared from (--as gives the directory another), else the directory's."""
    try:
        return str((prepared.prepared_from(model) or {}).get("zoo") or model.name)
    except AttributeError:
        return model.name


def run(model: paths.Model, trained: bool, text: bool, say: Callable[[str], None]) -> Path:
    """Converts a model and returns the path of the .uff.

    Args:
      model: its directory.
      trained: the exported inference-graph instead of the zoo's frozen graph.
      text: also writes the readable .pbtxt.
      say: called with lines for the person.

    Raises:
      UsageError: config/ has no file that counts for this model.
      TodusError: what is missing or cannot be held by UFF; nothing has been written then.
    """
    given = source(model, trained)
    if trained and model.limited_label_map.exists() and model.frozen_graph.exists():
        artefacts.graph_of(model, "inference_graph")
    config = None
    if given.pipeline.exists():
        config = pipeline.read(given.pipeline)
        settings_of.check_kind(config, str(given.pipeline))
    scopes = scopes_of.load(zoo_name(model))
    _check_present(model, given, trained)
    settings = settings_of.read(config, str(given.pipeline))
    names = categories.read_label_map(given.label_map)
    if max(names) >= settings.num_classes:
        raise TodusError("%s has the id %d, %s has %d classes; %s" % (
            given.label_map, max(names), given.pipeline, settings.num_classes - 1, _again(trained)))  # fmt: skip
    for line in notes(settings):
        say(line)
    with locks.exclusive(model.file_of("uff"), "the UFF conversion of %s" % model.name):
        return _write(model, given, settings, names, scopes, text, say)


def _again(trained: bool) -> str:
    return "run ./export.sh again" if trained else "run python -m model again"


def _check_present(model: paths.Model, given: Source, trained: bool) -> None:
    for path in (given.pipeline, given.graph, given.label_map):
        if path.exists():
            continue
        if not model.pretrained.exists():
            model.check()
        if trained:
            raise TodusError(
                "%s is missing; run: MODEL_DIR=%s ./export.sh"
                % (path, shlex.quote(str(model.folder)))
            )
        raise TodusError(
            "%s is missing; run: python -m model -m %s -d limited, or convert a trained model with -i"
            % (path, model.name)
        )


def notes(settings: Settings) -> List[str]:
    """What the plugins do otherwise than the frozen graph, a line each."""
    if settings.max_per_class < settings.max_total:
        line = "note: max_detections_per_class is %d; NMS_TRT has only the limit of all classes together, %d"
        return [line % (settings.max_per_class, settings.max_total)]
    return []


def _write(
    model: paths.Model,
    given: Source,
    settings: Settings,
    names: Dict[int, str],
    scopes,
    text: bool,
    say,
) -> Path:
    from todus.uff import graphs, nvidia, probe, surgery, writer

    network = surgery.cut(graphs.read(given.graph), scopes)
    body = probe.body(network, settings.height, settings.width)
    sides = _sides(network, body.maps, settings)
    scale, offset, anchors = probe.image_and_anchors(network, settings.height, settings.width)
    _check_anchors(network, anchors, sides, settings)
    graph_def = surgery.with_plugins(network, body.nodes, settings, sides, len(anchors))
    # Todus's own writer runs in any case: it checks every node.
    meta = writer.meta_graph(graph_def, surgery.NMS, str(given.graph))
    theirs, wrote = nvidia.meta_graph(graph_def, surgery.NMS)
    if theirs is not None:
        meta = theirs
        say("written by NVIDIA's %s" % wrote)
    else:
        say("written by Todus's own writer: %s" % wrote)
        wrote = "todus"
    target = model.file_of("uff")
    description = {
        "format": "uff",
        "model": model.name,
        "writer": wrote,
        **describe(settings, names, scale, offset, sides, len(anchors)),
    }
    for stale in (paths.beside_json(target), model.file_of("uff").with_suffix(".pbtxt")):
        if stale.exists():
            stale.unlink()
    with files.replacing(target) as part:
        part.write_bytes(writer.to_bytes(meta))
    if text:
        files.write_text(model.file_of("uff").with_suffix(".pbtxt"), writer.to_text(meta))
    artefacts.write(
        model,
        target,
        given.graph,
        artefacts.identity(names, pipeline.read(given.pipeline)),
        description,
    )
    return target


def _sides(network, maps, settings: Settings) -> List[int]:
    """The sides of the feature maps, after checking that the plugins fit the predictors."""
    error = network.graph.error
    if len(maps) != settings.num_layers:
        raise error(
            "%d feature maps, pipeline.config says num_layers: %d"
            % (len(maps), settings.num_layers),
            _MATCH,
        )
    for layer, (height, width, box_channels, class_channels) in enumerate(maps):
        if height != width:
            what = "feature map %d is %d x %d; GridAnchor_TRT makes anchors for square ones" % (
                layer,
                height,
                width,
            )
            raise error(what, "give fixed_shape_resizer one side, or " + ELSEWHERE)
        boxes = 3 if layer == 0 else len(settings.aspect_ratios) + 1
        if box_channels != boxes * 4:
            what = "feature map %d has %g boxes at a place, pipeline.config gives %d" % (
                layer,
                box_channels / 4.0,
                boxes,
            )
            raise error(what, _MATCH)
        if class_channels != boxes * settings.num_classes:
            what = "the graph has %g classes with background, pipeline.config %d" % (
                class_channels / float(boxes),
                settings.num_classes,
            )
            raise error(what, _MATCH)
    return [height for height, _, _, _ in maps]


_MATCH = "the graph and its pipeline.config are not of one export: make them again with ./export.sh or python -m model"


def _check_anchors(network, anchors: np.ndarray, sides: List[int], settings: Settings) -> None:
    from todus.uff import anchors as plugin

    ours = plugin.grid(sides, settings.min_scale, settings.max_scale, settings.aspect_ratios)
    if ours.shape != anchors.shape:
        raise network.graph.error(
            "the graph has %d anchors, its pipeline.config %d" % (len(anchors), len(ours)), _MATCH
        )
    apart = float(np.abs(ours - anchors).max())
    if not apart <= ANCHOR_TOLERANCE:
        what = "the graph's anchors differ from GridAnchor_TRT's by up to %.3g of the image (scales, ratios, offsets or strides of its own)"
        raise network.graph.error(what % apart, ELSEWHERE)


def describe(
    settings: Settings,
    names: Dict[int, str],
    scale: float,
    offset: float,
    sides: List[int],
    num_anchors: int,
) -> Dict:
    """What a person needs to build and run an engine, for MODEL.uff.json.

    Args:
      settings: the plugins' numbers.
      names: id -> class name.
      scale, offset: the network sees pixel * scale + offset.
      sides: of the feature maps.
      num_anchors: of all feature maps.
    """
    from todus.uff import surgery

    keep = surgery.keep_top_k(settings, num_anchors)
    labels: List[Optional[str]] = [names.get(label) for label in range(settings.num_classes)]
    labels[0] = "background"
    return {
        "input": {
            "name": surgery.INPUT,
            "shape": [1, 3, settings.height, settings.width],
            "dtype": "float32",
            "layout": "NCHW",
            "color": "RGB",
            "mean": [round(-offset / scale, 4)] * 3,
            "std": [round(1 / scale, 4)] * 3,
            "note": "feed (pixel - mean) / std",
        },
        "outputs": [
            {
                "name": surgery.NMS,
                "shape": [1, 1, keep, 7],
                "dtype": "float32",
                "row": ["image", "label", "score", "xmin", "ymin", "xmax", "ymax"],
                "note": "relative to the image, clipped to 0..1; rows after the last detection have the label -1",
            },
            {
                "name": surgery.NMS + "_1",
                "shape": [1, 1, 1, 1],
                "dtype": "int32",
                "note": "how many rows are detections; the binding says float32",
            },
        ],
        "labels": labels,
        "labels_note": "labels[label]; 0 is the background, null an id without a class",
        "tensorrt": {
            "register_input": {
                "name": surgery.INPUT,
                "shape": [3, settings.height, settings.width],
                "order": "NCHW",
            },
            "register_output": "MarkOutput_0",
            "plugins": PLUGINS,
            "max_batch_size": 1,
            "max_workspace_size": WORKSPACE_BYTES,
            "num_classes": settings.num_classes,
            "num_anchors": num_anchors,
            "feature_map_shapes": sides,
            "min_size": settings.min_scale,
            "max_size": settings.max_scale,
            "aspect_ratios": list(settings.aspect_ratios),
            "variance": list(settings.variances),
            "confidence_threshold": settings.score_threshold,
            "nms_threshold": settings.iou_threshold,
            "top_k": surgery.top_k(settings, num_anchors),
            "keep_top_k": keep,
        },
    }
