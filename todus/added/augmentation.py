"""The augmentations of pipeline.config, with results that depend only on image, view and seed."""

from typing import NamedTuple

import numpy as np

from todus.model import pipeline

BACKGROUND, IGNORED = -1, -2  # as in object_detection.core.matcher


class View(NamedTuple):
    """An augmented image.

    Attributes:
      pixels: float32 [height, width, 3], 0 to 255, of the network's input size.
      targets: int16 [anchors], the class to learn, from 0; BACKGROUND; or IGNORED, between both.
      encodings: float32 [anchors, 4], the box to learn as the box coder has it; 0 without a class.
    """

    pixels: np.ndarray
    targets: np.ndarray
    encodings: np.ndarray


class Augmentation:
    """Applies train_config.data_augmentation_options as the OD API's input pipeline does.

    Matches the boxes with the anchors as its SSD loss does.
    """

    def __init__(self, config: pipeline.Config, anchors: np.ndarray, seed: int):
        from todus.tf import tf

        from object_detection.builders import preprocessor_builder
        from object_detection.core import preprocessor
        from object_detection.core.standard_fields import InputDataFields as Fields

        options = config.train_config.data_augmentation_options
        steps = [preprocessor_builder.build(option) for option in options]
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(seed)
            image = tf.placeholder(tf.uint8, [None, None, 3], "image")
            boxes = tf.placeholder(tf.float32, [None, 4], "boxes")
            classes = tf.placeholder(tf.int32, [None], "classes")
            values = {
                Fields.image: tf.cast(image, tf.float32)[tf.newaxis],
                Fields.groundtruth_boxes: boxes,
                Fields.groundtruth_classes: classes,
                Fields.groundtruth_weights: tf.ones(tf.shape(classes), tf.float32),
            }
            if steps:
                values = preprocessor.preprocess(
                    values,
                    steps,
                    func_arg_map=preprocessor.get_default_func_arg_map(include_label_weights=True),
                )
            resized = tf.image.resize_images(values[Fields.image], pipeline.input_size(config))
            tf.identity(resized[0], "view/pixels")
            targets, encodings = _targets(
                config,
                anchors,
                values[Fields.groundtruth_boxes],
                values[Fields.groundtruth_classes],
            )
            tf.identity(targets, "view/targets")
            tf.identity(encodings, "view/encodings")
            self._graph = graph.as_graph_def()

    def start_pass(self, number: int) -> None:
        """Begins pass `number` over the images, from 0; its random draws depend only on it."""
        from todus.tf import tf

        graph_def = tf.GraphDef()
        graph_def.CopyFrom(self._graph)
        for node in graph_def.node:
            if "seed2" in node.attr:
                node.attr["seed"].i = number + 1
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            self._session = tf.Session(graph=graph)

    def view(self, image: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> View:
        """The next image of the pass."""
        fetches = ["view/%s:0" % name for name in View._fields]
        feeds = {"image:0": image, "boxes:0": boxes, "classes:0": classes}
        return View(*self._session.run(fetches, feeds))


def _targets(config: pipeline.Config, anchors: np.ndarray, boxes, classes):
    """The tensors View.targets and View.encodings of an image with `boxes` of `classes`."""
    from todus.tf import tf

    from object_detection.builders import (
        box_coder_builder,
        matcher_builder,
        region_similarity_calculator_builder,
    )
    from object_detection.core import box_list

    ssd = config.model.ssd
    similarity = region_similarity_calculator_builder.build(ssd.similarity_calculator)
    anchor_boxes = box_list.BoxList(tf.constant(anchors))
    quality = similarity.compare(box_list.BoxList(boxes), anchor_boxes)
    match = matcher_builder.build(ssd.matcher).match(quality).match_results
    padded = tf.concat([[IGNORED, BACKGROUND], classes], axis=0)
    matched = tf.gather(tf.concat([anchors[:2], boxes], axis=0), match + 2)
    encodings = box_coder_builder.build(ssd.box_coder).encode(
        box_list.BoxList(matched), anchor_boxes
    )
    learnt = tf.cast(match >= 0, tf.float32)[:, tf.newaxis]
    return tf.cast(tf.gather(padded, match + 2), tf.int16), encodings * learnt
