"""Converts the model in a directory to MODEL.uff, MODEL.uff.json and, on request, MODEL.pbtxt."""

import shlex
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from todus import categories, files, locks, paths
from todus.errors import TodusError
from todus.model import artefacts, pipeline, prepared
from todus.uff import scopes as scopes_of
from todus.uff import settings as settings_of
from todus.uff.anchors import grid
from todus.uff.settings import ELSEWHERE, Settings

# The largest difference of an anchor from the plugin's, relative to the image.
ANCHOR_TOLERANCE = 1e-5

PLUGINS = ["FlattenConcat_TRT", "GridAnchor_TRT", "NMS_TRT"]

# Enough for these networks; NVIDIA's own samples use as much.
WORKSPACE_BYTES = 1 << 28

_MATCH = (
    "the graph and its pipeline.config are not of one export: "
    "make them again with ./export.sh or python -m model"
)


class GraphFiles(NamedTuple):
    """What is converted: one frozen graph with its own pipeline and its own classes."""

    graph: Path
    pipeline: Path
    label_map: Path


def graph_files(model: paths.Model, trained: bool) -> GraphFiles:
    """The exported graph with its classes, or the zoo's own graph with the zoo's."""
    if trained:
        return GraphFiles(model.frozen_graph, model.exported_pipeline, model.exported_label_map)
    return GraphFiles(model.zoo_frozen_graph, model.zoo_pipeline, model.zoo_label_map)


def zoo_name(model: paths.Model) -> str:
    """The zoo model from which the model was prepared; the directory's name if unrecorded."""
    try:
        return str((prepared.prepared_from(model) or {}).get("zoo") or model.name)
    except AttributeError:
        return model.name


def run(
    model: paths.Model, trained: bool, text: bool, say: Callable[[str], None], bgr: bool = False
) -> Path:
    """Converts a model and returns the path of the .uff.

    Args:
      model: its directory.
      trained: the exported inference-graph instead of the zoo's frozen graph.
      text: also writes the readable .pbtxt.
      say: called with lines for the user.
      bgr: the input takes blue, green, red instead of red, green, blue.

    Raises:
      UsageError: config/ has no file for this model.
      TodusError: a file is missing, or UFF cannot hold the graph; nothing has been written then.
    """
    given = graph_files(model, trained)
    if trained and model.limited_label_map.exists() and model.frozen_graph.exists():
        artefacts.graph_of(model, "inference_graph")
    if given.pipeline.exists():
        settings_of.check_kind(pipeline.read(given.pipeline), str(given.pipeline))
    scopes = scopes_of.load(zoo_name(model))
    _check_present(model, given, trained)
    config = pipeline.read(given.pipeline)
    settings = settings_of.read(config, str(given.pipeline))
    names = categories.read_label_map(given.label_map)
    if max(names) >= settings.num_classes:
        again = "run ./export.sh again" if trained else "run python -m model again"
        facts = (given.label_map, max(names), given.pipeline, settings.num_classes - 1, again)
        raise TodusError("%s has the id %d, %s has %d classes; %s" % facts)
    for line in notes(settings):
        say(line)
    with locks.exclusive(model.file_of("uff"), "the UFF conversion of %s" % model.name):
        from todus.uff import nvidia, surgery, writer

        graph_def, about = _with_plugins(given.graph, settings, scopes, names, bgr)
        # Todus's own writer runs in any case: it checks every node.
        meta = writer.meta_graph(graph_def, surgery.NMS, str(given.graph))
        theirs, wrote = nvidia.meta_graph(graph_def, surgery.NMS)
        own = "written by Todus's own writer: %s" % wrote
        say(own if theirs is None else "written by NVIDIA's %s" % wrote)
        meta, wrote = (meta, "todus") if theirs is None else (theirs, wrote)
        target = model.file_of("uff")
        readable = target.with_suffix(".pbtxt")
        for stale in (paths.beside_json(target), readable):
            if stale.exists():
                stale.unlink()
        with files.replacing(target) as part:
            part.write_bytes(writer.to_bytes(meta))
        if text:
            files.write_text(readable, writer.to_text(meta))
        identity = artefacts.identity(names, config)
        about = {"format": "uff", "model": model.name, "writer": wrote, **about}
        artefacts.write(model, target, given.graph, identity, about)
    return target


def _check_present(model: paths.Model, given: GraphFiles, trained: bool) -> None:
    for path in (given.pipeline, given.graph, given.label_map):
        if path.exists():
            continue
        if not model.pretrained.exists():
            model.check()
        if trained:
            what = "%s is missing; run: MODEL_DIR=%s ./export.sh"
            raise TodusError(what % (path, shlex.quote(str(model.folder))))
        prepare = "python -m model -m %s -d limited" % model.name
        raise TodusError(
            "%s is missing; run: %s, or convert a trained model with -i" % (path, prepare)
        )


def notes(settings: Settings) -> List[str]:
    """The differences of the plugins' results from the frozen graph's, a line each."""
    if settings.max_per_class >= settings.max_total:
        return []
    line = "note: max_detections_per_class is %d; NMS_TRT limits all classes together only, to %d"
    return [line % (settings.max_per_class, settings.max_total)]


def _with_plugins(
    path: Path, settings: Settings, scopes: scopes_of.Scopes, names: Dict[int, str], bgr: bool
) -> Tuple[Any, Dict]:
    """The GraphDef that is written as UFF, and its description."""
    from todus.uff import graphs, probe, surgery

    network = surgery.cut(graphs.read(path), scopes)
    body = probe.body(network, settings.height, settings.width)
    sides = _sides(network, body.maps, settings)
    scale, offset, anchors = probe.image_and_anchors(network, settings.height, settings.width)
    _check_anchors(network, anchors, sides, settings)
    if bgr:
        surgery.swap_colors(network, body.nodes)
    graph_def = surgery.with_plugins(network, body.nodes, settings, sides, len(anchors))
    return graph_def, describe(settings, names, scale, offset, sides, len(anchors), bgr)


def _sides(network, maps, settings: Settings) -> List[int]:
    """The sides of the feature maps, after checking that the plugins fit the predictors."""
    error = network.graph.error
    if len(maps) != settings.num_layers:
        what = "%d feature maps, and num_layers: %d in pipeline.config"
        raise error(what % (len(maps), settings.num_layers), _MATCH)
    for layer, (height, width, box_channels, class_channels) in enumerate(maps):
        if height != width:
            what = "feature map %d is %d x %d; GridAnchor_TRT makes anchors for square ones"
            remedy = "give fixed_shape_resizer one side, or " + ELSEWHERE
            raise error(what % (layer, height, width), remedy)
        boxes = 3 if layer == 0 else len(settings.aspect_ratios) + 1
        if box_channels != boxes * 4:
            what = "feature map %d has %g boxes at a place, pipeline.config gives %d"
            raise error(what % (layer, box_channels / 4.0, boxes), _MATCH)
        if class_channels != boxes * settings.num_classes:
            what = "the graph has %g classes with background, pipeline.config %d"
            raise error(what % (class_channels / float(boxes), settings.num_classes), _MATCH)
    return [height for height, _, _, _ in maps]


def _check_anchors(network, anchors: np.ndarray, sides: List[int], settings: Settings) -> None:
    expected = grid(sides, settings.min_scale, settings.max_scale, settings.aspect_ratios)
    if expected.shape != anchors.shape:
        what = "the graph has %d anchors, its pipeline.config %d" % (len(anchors), len(expected))
        raise network.graph.error(what, _MATCH)
    apart = float(np.abs(expected - anchors).max())
    if not apart <= ANCHOR_TOLERANCE:
        what = "the graph's anchors differ from GridAnchor_TRT's by up to %.3g of the image"
        causes = " (scales, ratios, offsets or strides of its own)"
        raise network.graph.error(what % apart + causes, ELSEWHERE)


def describe(
    settings: Settings,
    names: Dict[int, str],
    scale: float,
    offset: float,
    sides: List[int],
    num_anchors: int,
    bgr: bool = False,
) -> Dict[str, Any]:
    """What is needed to build and run an engine, for MODEL.uff.json.

    Args:
      settings: the plugins' numbers.
      names: id -> class name.
      scale, offset: the network's input is pixel * scale + offset.
      sides: of the feature maps.
      num_anchors: of all feature maps.
      bgr: the order of the input's colors.
    """
    from todus.uff import surgery

    keep = surgery.keep_top_k(settings, num_anchors)
    labels: List[Optional[str]] = [names.get(label) for label in range(settings.num_classes)]
    labels[0] = "background"
    shape = [3, settings.height, settings.width]
    row = ["image", "label", "score", "xmin", "ymin", "xmax", "ymax"]
    rows_note = "relative to the image, clipped to 0..1; after the last detection the label is -1"
    return {
        "input": {
            "name": surgery.INPUT,
            "shape": [1, *shape],
            "dtype": "float32",
            "layout": "NCHW",
            "color": "BGR" if bgr else "RGB",
            "mean": [round(-offset / scale, 4)] * 3,
            "std": [round(1 / scale, 4)] * 3,
            "note": "feed (pixel - mean) / std",
        },
        "outputs": [
            {
                "name": surgery.NMS,
                "shape": [1, 1, keep, 7],
                "dtype": "float32",
                "row": row,
                "note": rows_note,
            },
            {
                "name": surgery.NMS + "_1",
                "shape": [1, 1, 1, 1],
                "dtype": "int32",
                "note": "how many rows are detections; the type of the binding is float32",
            },
        ],
        "labels": labels,
        "labels_note": "labels[label]; 0 is the background, null an id without a class",
        "tensorrt": {
            "register_input": {"name": surgery.INPUT, "shape": shape, "order": "NCHW"},
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
