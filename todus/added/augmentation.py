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
    """

    pixels: np.ndarray
    targets: np.ndarray


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
            targets = _targets(
                config,
                anchors,
                values[Fields.groundtruth_boxes],
                values[Fields.groundtruth_classes],
            )
            tf.identity(targets, "view/targets")
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
        fetches = ["view/pixels:0", "view/targets:0"]
        feeds = {"image:0": image, "boxes:0": boxes, "classes:0": classes}
        return View(*self._session.run(fetches, feeds))


def _targets(config: pipeline.Config, anchors: np.ndarray, boxes, classes):
    """The tensor View.targets of an image with `boxes` of `classes`."""
    from todus.tf import tf

    from object_detection.builders import matcher_builder, region_similarity_calculator_builder
    from object_detection.core import box_list

    ssd = config.model.ssd
    similarity = region_similarity_calculator_builder.build(ssd.similarity_calculator)
    quality = similarity.compare(box_list.BoxList(boxes), box_list.BoxList(tf.constant(anchors)))
    match = matcher_builder.build(ssd.matcher).match(quality).match_results
    padded = tf.concat([[IGNORED, BACKGROUND], classes], axis=0)
    return tf.cast(tf.gather(padded, match + 2), tf.int16)
