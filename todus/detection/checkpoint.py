"""A checkpoint with its pipeline config, run by TensorFlow."""

import copy
from pathlib import Path
from typing import Dict, Optional

from todus.detection.detector import LEAST_SCORE
from todus.detection.graph import GraphDetector
from todus.errors import TodusError
from todus.model import checkpoint_files, checkpoint_values, checkpoints, heads, pipeline
from todus.text import first_line


class Checkpoint(GraphDetector):
    """A checkpoint, in the inference graph that its pipeline config describes.

    Detections that score less than `score_threshold` are dropped, whatever the config says. Weights
    are their moving averages where eval_config uses them and the checkpoint has them.
    """

    form = "checkpoint"

    def __init__(
        self,
        prefix: Path,
        config: pipeline.Config,
        names: Dict[int, str],
        score_threshold: float = LEAST_SCORE,
        threads: Optional[int] = None,
    ):
        from todus.tf import tf

        from object_detection import exporter
        from object_detection.builders import graph_rewriter_builder, model_builder

        super().__init__(prefix, names, threads)
        config = copy.deepcopy(config)
        self._config, self._quantizes = config, quantizes(config, prefix)
        pipeline.non_max_suppression(config).score_threshold = score_threshold
        rewriter = None
        if self._quantizes:
            rewriter = graph_rewriter_builder.build(config.graph_rewriter, is_training=False)
        with tf.Graph().as_default() as graph:
            tf.keras.backend.set_learning_phase(0)
            heads.install()
            model = model_builder.build(config.model, is_training=False)
            exporter.build_detection_graph("image_tensor", model, None, "inference_op", rewriter)
            session = self._session_of(graph)
            restore(session, prefix, config)
            self._open_by_name(session)

    def reopen(self, prefix: Path) -> bool:
        """Takes the weights of another checkpoint of the model, whose graph is built already.

        Returns False, and changes nothing, where the graph at that checkpoint is another.
        """
        if quantizes(self._config, prefix) != self._quantizes:
            return False
        with self.session.graph.as_default():
            restore(self.session, prefix, self._config)
        self.path = prefix
        return True


def restore(session, prefix: Path, config: pipeline.Config) -> None:
    """Restores the variables of the current graph. Raises TodusError where they do not match."""
    from todus.tf import tf

    try:
        tf.train.Saver(_names_in(prefix, config)).restore(session, str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        text = "checkpoint %s does not match pipeline.config (%s); "
        text += "it may be older than the model's last preparation"
        raise TodusError(text % (checkpoint_files.shown(prefix), first_line(error)))


def _names_in(prefix: Path, config: pipeline.Config) -> Optional[Dict]:
    """Name in the checkpoint -> variable of the current graph; None where all names are equal."""
    from todus.tf import tf

    if not config.eval_config.use_moving_averages:
        return None
    there = set(checkpoint_values.variable_names(prefix) or ())
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    averages = {name: name + checkpoint_values.AVERAGE for name in variables}
    return {
        averages[name] if averages[name] in there else name: variable
        for name, variable in variables.items()
    }


def quantizes(config: pipeline.Config, prefix: Path) -> bool:
    """Whether the model at a checkpoint computes with quantized ranges.

    It does if its config is quantization-aware, the checkpoint has the ranges, and its step is
    past the quantization delay.
    """
    if not pipeline.is_quantized(config):
        return False
    delay = config.graph_rewriter.quantization.delay
    past_delay = checkpoints.is_slice(prefix) or checkpoints.step_of(prefix) >= delay
    names = checkpoint_values.variable_names(prefix) or []
    return past_delay and checkpoint_values.has_ranges(names)
