"""The frozen graph of an SSD without the loops of the OD API, which other runtimes run slowly.

The OD API resizes the images of a batch in one loop, and suppresses the boxes of each image in
another. The first becomes one operator for the batch; the graph is cut before the second.
"""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from todus.errors import TodusError
from todus.model import pipeline

RAW_OUTPUTS = ("raw_detection_boxes", "raw_detection_scores")

_RESIZE = "ResizeBilinear"
_PREPROCESSOR = "Preprocessor/"
_DECODE = "Postprocessor/Decode/"
_ANCHORS = ("add", "add_1", "sub_1", "sub")  # y and x of the centre, height, width
_SCATTER = _PREPROCESSOR + "map/TensorArrayUnstack/TensorArrayScatter/TensorArrayScatterV3"
_UNSUPPORTED = (
    "soft_nms_sigma",
    "use_class_agnostic_nms",
    "use_combined_nms",
    "use_static_shapes",
)


def reason_against(config: pipeline.Config, graph_def) -> Optional[str]:
    """Why the loops of a frozen graph have no equal in plain operators; None where they have.

    `config` is the pipeline.config that the graph was exported with.
    """
    if pipeline.architecture(config) != "ssd":
        return "%s is no SSD" % pipeline.extractor(config)
    resizer = config.model.ssd.image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    if kind != "fixed_shape_resizer":
        return "its image_resizer is %s, not fixed_shape_resizer" % kind
    fixed = resizer.fixed_shape_resizer
    if fixed.resize_method != 0 or fixed.convert_to_grayscale:
        return "its fixed_shape_resizer does more than a bilinear resize"
    suppression = pipeline.non_max_suppression(config)
    for field in _UNSUPPORTED:
        if getattr(suppression, field):
            return "its non-max suppression has %s" % field
    understood = _boundary(graph_def) is not None and {*RAW_OUTPUTS} <= {*_by_name(graph_def)}
    return None if understood else "its graph is not one that this OD API exports"


def resize_at_once(graph_def) -> None:
    """Resizes all images of a batch in one operator. The graph is changed."""
    boundary = _boundary(graph_def)
    if boundary.op != "TensorArrayGatherV3":  # a batch of a fixed size has no loop
        return
    nodes, (resize,) = _by_name(graph_def), _resizes(graph_def)
    size = nodes[resize.input[1]]
    added = graph_def.node.add()
    added.CopyFrom(size)
    added.name = _PREPROCESSOR + "resize/size"
    del added.input[:]  # its place in the loop
    boundary.op = _RESIZE
    boundary.ClearField("attr")
    for key in ("T", "align_corners", "half_pixel_centers"):
        boundary.attr[key].CopyFrom(resize.attr[key])
    boundary.input[:] = [nodes[_SCATTER].input[2], added.name]


def start_at_network(graph_def, shape: Sequence[int]) -> str:
    """Makes the resized, normalised image the graph's input.

    Args:
      graph_def: is changed.
      shape: [batch, height, width, 3] of the input.

    Returns:
      The input's name; it is a float32 tensor.
    """
    from todus.tf import tf

    boundary = _boundary(graph_def)
    boundary.op = "Placeholder"
    boundary.ClearField("attr")
    boundary.ClearField("input")
    boundary.attr["dtype"].type = tf.float32.as_datatype_enum
    boundary.attr["shape"].shape.CopyFrom(tf.TensorShape(list(shape)).as_proto())
    return boundary.name


def sizes(graph_def, shape: Sequence[int]) -> Tuple[int, int]:
    """How many anchors and columns the raw scores have.

    Args:
      graph_def: stays as it is.
      shape: [batch, height, width, 3] of resized images; of a fixed batch, that.
    """
    from todus.tf import tf

    copy = tf.GraphDef()
    copy.CopyFrom(graph_def)
    start_at_network(copy, shape)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(copy, name="")
        shape = graph.get_tensor_by_name(RAW_OUTPUTS[1] + ":0").shape
    if not shape.is_fully_defined():
        raise TodusError("the graph's scores have no fixed number; run ./export.sh again")
    return tuple(shape.as_list()[1:])


def encodings(graph_def) -> str:
    """The tensor of the encoded boxes, [anchors, 4]: the input of the box coder."""
    decode = _by_name(graph_def).get(_DECODE + "transpose")
    if decode is None:
        raise TodusError("the graph has no %s, the OD API's box coder" % _DECODE)
    tensor = decode.input[0]
    return tensor if ":" in tensor else tensor + ":0"


def anchors(graph_def, shape: Sequence[int]) -> np.ndarray:
    """float32 [anchors, 4]: y and x of the centre, height, width.

    Args:
      graph_def: stays as it is.
      shape: [1, height, width, 3].
    """
    from todus.tf import tf

    copy = tf.GraphDef()
    copy.CopyFrom(graph_def)
    image = start_at_network(copy, shape) + ":0"
    names = [_DECODE + "get_center_coordinates_and_sizes/" + each for each in _ANCHORS]
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(copy, name="")
        tensors = [graph.get_tensor_by_name(name + ":0") for name in names]
        found = session.run(tensors, {image: np.zeros(shape, np.float32)})
    return np.stack(found, axis=1)


def _preprocesses(name: str) -> bool:
    return name.startswith(_PREPROCESSOR)


def _by_name(graph_def) -> Dict:
    return {node.name: node for node in graph_def.node}


def _resizes(graph_def) -> List:
    return [each for each in graph_def.node if each.op == _RESIZE and _preprocesses(each.name)]


def _boundary(graph_def):
    """The node of the resized, normalised images; None where the Preprocessor is another.

    The network reads nothing else of its scope.
    """
    inputs = {
        each.split(":")[0].lstrip("^")
        for node in graph_def.node
        if not node.name.startswith((_PREPROCESSOR, "Postprocessor/"))
        for each in node.input
    }
    nodes = _by_name(graph_def)
    found = [node for node in graph_def.node if node.name in inputs and _preprocesses(node.name)]
    if len(found) != 1:
        return None
    loops = found[0].op == "TensorArrayGatherV3"
    understood = not loops or (len(_resizes(graph_def)) == 1 and _SCATTER in nodes)
    return found[0] if understood else None
