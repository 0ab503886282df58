"""A checkpoint under its pipeline config."""

from pathlib import Path
from typing import Dict, Optional

from todus.detection.graph import GraphDetector, open_by_name
from todus.errors import TodusError
from todus.model import checkpoint_values, pipeline
from todus.text import first_line


class Checkpoint(GraphDetector):
    """A checkpoint under its pipeline config, with every detection that scores at least `score_threshold`."""

    form = "checkpoint"

    def __init__(
        self,
        prefix: Path,
        config: pipeline.Config,
        names: Dict[int, str],
        score_threshold: float = 1e-8,
        threads: Optional[int] = None,
    ):
        from todus.tf import tf

        from object_detection import exporter
        from object_detection.builders import graph_rewriter_builder, model_builder

        super().__init__(prefix, names, threads)
        config = _copy(config)
        pipeline.non_max_suppression(config).score_threshold = score_threshold
        rewriter = None
        if quantizes(config, prefix):
            rewriter = graph_rewriter_builder.build(config.graph_rewriter, is_training=False)
        with tf.Graph().as_default() as graph:
            tf.keras.backend.set_learning_phase(0)
            model = model_builder.build(config.model, is_training=False)
            exporter.build_detection_graph("image_tensor", model, None, "inference_op", rewriter)
            saver = tf.train.Saver()
            session = self._session_of(graph)
            restore(saver, session, prefix)
            open_by_name(self, graph, session)


def restore(saver, session, prefix: Path) -> None:
    """saver.restore, with one line for a checkpoint of another model."""
    from todus.tf import tf

    try:
        saver.restore(session, str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise TodusError(
            "checkpoint %s does not fit pipeline.config (%s); was the model prepared again since?"
            % (prefix, first_line(error))
        )


def quantizes(config: pipeline.Config, prefix: Path) -> bool:
    """Whether the model at a checkpoint computes with quantized ranges: it is quantization-aware, has them, and is past the delay."""
    if not pipeline.is_quantized(config):
        return False
    from todus.model import checkpoints

    names = checkpoint_values.variable_names(prefix) or []
    late_enough = (
        checkpoints.is_slice(prefix)
        or checkpoints.step_of(prefix) >= config.graph_rewriter.quantization.delay
    )
    return checkpoint_values.has_ranges(names) and late_enough


def _copy(config: pipeline.Config) -> pipeline.Config:
    copy = pipeline.Config()
    copy.CopyFrom(config)
    return copy
