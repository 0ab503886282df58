"""The OD API's Estimator for a pipeline config, with what OD API 2.8.0 lacks in TensorFlow 1."""

import functools
from pathlib import Path
from typing import Callable, Dict, Optional

from todus.model import heads, pipeline
from todus.paths import Model

HASHES = "todus_image_hashes"  # the graph's int32 [batch] hashes of the images' source ids

# Steps that a restored range counts as: TensorFlow divides its moving average, of decay 0.999, by
# 1 - 0.999 ** steps, and 0.999 ** 20000 = 2e-9 is less than float32 can tell from 1.
SETTLED_STEPS = 20000


def estimator(model: Model, config_path: Path, keep: int = 5, summary_steps: int = 10) -> Dict:
    """The estimator and the inputs of object_detection.model_lib.create_estimator_and_inputs.

    Training starts from fine_tune_checkpoint, including the trained ranges of a quantization-aware
    slice. The estimator saves no checkpoints by itself: the caller passes a hook that does. With
    TF_CONFIG set it is one role of that cluster.

    Args:
      model: its training/ is written to.
      config_path: the pipeline config of this run.
      keep: how many of the newest checkpoints are kept.
      summary_steps: steps between summaries.
    """
    from todus.tf import tf

    from object_detection import model_hparams, model_lib

    heads.install()
    _keep_channels_of_jpegs()
    run_config = tf.estimator.RunConfig(
        model_dir=str(model.training),
        save_checkpoints_steps=None,
        save_checkpoints_secs=None,
        save_summary_steps=summary_steps,
        log_step_count_steps=None,
    )
    if not run_config.cluster_spec and not tf.test.is_built_with_cuda():
        run_config = run_config.replace(session_config=_session_config())

    def creator(*arguments, **options):
        return _model_fn_creator(keep, *arguments, **options)

    made = model_lib.create_estimator_and_inputs(
        run_config=run_config,
        # Without hparams the OD API 2.8.0 does not load the fine_tune_checkpoint.
        hparams=model_hparams.create_hparams(None),
        pipeline_config_path=str(config_path),
        train_steps=pipeline.read(config_path).train_config.num_steps,
        model_fn_creator=creator,
    )
    made["train_input_fn"] = without_autograph(made["train_input_fn"])
    return made


def _keep_channels_of_jpegs() -> None:
    """Makes tf.image.adjust_jpeg_quality return the static shape of its image.

    TensorFlow 1.15 loses the number of channels, which convolutions and the OD API's preprocessing
    need; later versions keep it.
    """
    from todus.tf import tf

    inner = tf.image.adjust_jpeg_quality
    if hasattr(inner, "__wrapped__"):
        return

    @functools.wraps(inner)
    def adjust(image, *arguments, **options):
        result = inner(image, *arguments, **options)
        result.set_shape(image.shape)
        return result

    adjust.__wrapped__ = inner
    tf.image.adjust_jpeg_quality = adjust


def _session_config():
    """The Estimator's own, and place_pruned_graph: training starts 3 s earlier.

    Each new set of fetches is then placed and optimized without the rest of the graph, so that
    initialization, saving and reading the step do not optimize the training step too. Only for one
    process on a CPU: with other devices, an operation could be placed elsewhere by this.
    """
    from tensorflow_estimator.python.estimator import run_config

    config = run_config.get_default_session_config()
    config.graph_options.place_pruned_graph = True
    return config


def without_autograph(input_fn: Callable) -> Callable:
    """`input_fn` without AutoGraph's conversion of the dataset functions.

    tf.data would convert the OD API's functions with AutoGraph, which takes about 20 seconds. They
    use tf.cond and tf.while_loop, so nothing is converted: only names in the graph differ.
    """
    try:
        from tensorflow.python.autograph.core import ag_ctx
    except ImportError:  # TensorFlow 1.13 has no AutoGraph in tf.data
        return input_fn

    def unconverted(params=None):
        with ag_ctx.ControlStatusCtx(status=ag_ctx.Status.DISABLED):
            return input_fn(params)

    return unconverted


def _model_fn_creator(keep: int, *arguments, **options):
    """model_lib.create_model_fn, followed by restore_ranges.

    create_model_fn loads the fine_tune_checkpoint before it adds the variables of the ranges.
    """
    from todus.tf import tf

    from object_detection import inputs, model_lib

    build, *arguments = arguments
    configs = options["configs"] if "configs" in options else arguments[0]
    build = _with_frozen_batch_norm(build, configs["model"])
    inner = model_lib.create_model_fn(build, *arguments, **options)

    def model_fn(features, labels, mode, params=None):
        if mode == "train" and inputs.HASH_KEY in features:
            tf.identity(features[inputs.HASH_KEY], name=HASHES)
        spec = inner(features, labels, mode, params)
        checkpoint = configs["train_config"].fine_tune_checkpoint
        if mode != "train":
            return spec
        settle = restore_ranges(checkpoint) if checkpoint else None
        return spec._replace(scaffold=_scaffold(keep, settle))

    return model_fn


def _with_frozen_batch_norm(build: Callable, model_config) -> Callable:
    """The OD API's function that builds the model, with freeze_batchnorm for every extractor.

    In the OD API 2.8.0 the extractors MobileDet, MnasFPN, PNASNet and SpaghettiNet set is_training
    of their batch normalisation themselves, which overrides freeze_batchnorm.
    """

    def built(**options):
        model = build(**options)
        if model_config.HasField("ssd") and model_config.ssd.freeze_batchnorm:
            model.feature_extractor._is_training = False
        return model

    return built


def _scaffold(keep: int, after_init=None):
    """A scaffold whose saver replaces the OD API's, and which runs `after_init` after its init_op.

    The OD API's keeps 5 checkpoints, and in a cluster writes to the parameter servers' disks.
    """
    from todus.tf import tf

    tf.get_default_graph().clear_collection(tf.GraphKeys.SAVERS)
    saver = tf.train.Saver(sharded=False, max_to_keep=keep, save_relative_paths=True)
    tf.add_to_collection(tf.GraphKeys.SAVERS, saver)
    if after_init is None:
        return tf.train.Scaffold(saver=saver)
    return tf.train.Scaffold(saver=saver, init_fn=lambda _, session: session.run(after_init))


def restore_ranges(checkpoint: str):
    """Initializes the default graph's fake-quantization ranges from a checkpoint that has them.

    Returns:
      An operation to run once after the initialization, so that training continues the moving
      averages of the restored ranges; None where there are none. TensorFlow computes such a range
      from two variables, which start at 0: RANGE/biased, the moving average, and RANGE/local_step,
      the number of values in it (tensorflow/python/training/moving_averages.py).
    """
    from todus.tf import tf

    shapes = dict(tf.train.list_variables(checkpoint))
    every = {variable.op.name: variable for variable in tf.global_variables()}
    restored = {
        name: variable
        for name, variable in every.items()
        if shapes.get(name) == variable.shape.as_list()
    }
    late = {
        name: variable
        for name, variable in restored.items()
        if name.endswith(("quant/min", "quant/max"))
    }
    if late:
        tf.train.init_from_checkpoint(checkpoint, late)
    assigned = []
    for name, variable in restored.items():
        average = "%s/%s" % (name.rpartition("/")[0], name)
        if average + "/biased" in every:
            assigned.append(tf.assign(every[average + "/biased"], variable))
            assigned.append(tf.assign(every[average + "/local_step"], SETTLED_STEPS))
    return tf.group(*assigned) if assigned else None


def hashes_in(graph) -> Optional[object]:
    """The tensor HASHES of a graph; None where the input has no source ids."""
    try:
        return graph.get_tensor_by_name(HASHES + ":0")
    except KeyError:
        return None
