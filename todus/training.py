"""The Estimator run: starts from the slice, resumes, stops when asked, and keeps its books in training/run.json."""

import signal
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

from todus import __version__, checkpoints, files, pipeline, prepare
from todus.dataset import records
from todus.errors import TodusError
from todus.paths import Model


@dataclass
class Settings:
    """What the environment may set; None keeps pipeline.config's."""

    num_steps: Optional[int] = None
    batch_size: Optional[int] = None
    learning_rate: Optional[float] = None
    save_steps: int = 500
    keep: int = 5
    log_steps: int = 10


def settled(config: pipeline.Config, settings: Settings) -> None:
    """Applies the settings to a pipeline config."""
    before = config.train_config.num_steps
    if settings.batch_size:
        pipeline.set_batch_size(config, settings.batch_size)
    if settings.learning_rate:
        pipeline.set_learning_rate(config, settings.learning_rate)
    if settings.num_steps:
        pipeline.set_num_steps(config, settings.num_steps)
        delay = config.graph_rewriter.quantization.delay if pipeline.is_quantized(config) else 0
        if delay and before:
            pipeline.set_quantization(config, max(1, int(round(delay * settings.num_steps / before))))


def train(model: Model, settings: Settings, say: Callable[[str], None]) -> int:
    """Trains until num_steps, a signal, or an error; returns the step reached.

    Raises:
      TodusError: no dataset, other classes than training/ was begun with, or what TensorFlow says of the data.
    """
    config = prepare.resolved(model)
    settled(config, settings)
    dataset = prepare.dataset_of(model)
    if not dataset.shards("train"):
        raise TodusError("dataset %s has no train records; make it with SPLITS=\"train val\"" % dataset.name)
    model.training.mkdir(parents=True, exist_ok=True)
    with files.lock(model.training, "the training of %s" % model.name), records.reading(dataset):
        classes = [item["name"] for item in records.read_manifest(dataset)["categories"]]
        _check_same_run(model, config, classes)
        done = checkpoints.latest(model)
        steps = config.train_config.num_steps
        if done and done[0] >= steps:
            say("train: already at step %d of %d: nothing to do; NUM_TRAIN_STEPS=%d goes on" % (done[0], steps, done[0] * 2))
            return done[0]
        pipeline.write(model.training / "pipeline.config", config)
        start = done[0] if done else 0
        say("train: %s, step %d of %d, batch %d, from %s" % (model.name, start, steps, config.train_config.batch_size, done[1].name if done else "the slice"))
        _note(model, classes, {"started": _now(), "step": start, "num_steps": steps, "batch_size": config.train_config.batch_size})
        stop = _Stop()
        try:
            _run(model, config, settings, stop, say)
        finally:
            stop.restore()
        reached = (checkpoints.latest(model) or (0, None))[0]
        reason = "signal %s" % stop.signal if stop.signal else "reached num_steps"
        _note(model, classes, {"stopped": _now(), "step": reached, "reason": reason})
        say("train: step %d of %d saved%s" % (reached, steps, "; the same command goes on" if reached < steps else ""))
        return reached


def _check_same_run(model: Model, config: pipeline.Config, classes: List[str]) -> None:
    """training/ belongs to one set of classes."""
    path = model.training / "run.json"
    if not path.exists() or not checkpoints.latest(model):
        return
    before = files.read_json(path)["classes"]
    if before != classes:
        raise TodusError(
            "%s was begun with the classes %s, the dataset now has %s; move that folder away, or prepare under another name with --as"
            % (model.training, ", ".join(before), ", ".join(classes))
        )


def _note(model: Model, classes: List[str], event: Dict) -> None:
    path = model.training / "run.json"
    run = files.read_json(path) if path.exists() else {"todus": __version__, "model": model.name, "events": []}
    run["classes"] = classes
    run["events"].append(event)
    files.write_json(path, run)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


class _Stop:
    """Remembers SIGTERM, SIGINT and SIGHUP (unless nohup ignores it) until the step in progress has ended."""

    def __init__(self) -> None:
        self.signal = ""
        self._before = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._remember)

    def _remember(self, number, _frame) -> None:
        self.signal = signal.Signals(number).name

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _run(model: Model, config: pipeline.Config, settings: Settings, stop: _Stop, say: Callable[[str], None]) -> None:
    from todus.tf import tf

    steps = config.train_config.num_steps
    made = estimator(model, config, settings)
    try:
        made["estimator"].train(made["train_input_fn"], max_steps=steps, hooks=[_progress_hook(tf, settings.log_steps, steps, stop, say)])
    except tf.train.NanLossDuringTrainingError:
        kept = checkpoints.latest(model)
        raise TodusError("the loss became NaN; %s is kept; go on with a smaller LEARNING_RATE" % (kept[1].name if kept else "the slice"))
    except tf.errors.ResourceExhaustedError:
        raise TodusError("out of memory at BATCH_SIZE=%d; nothing is lost: try BATCH_SIZE=%d" % (config.train_config.batch_size, max(1, config.train_config.batch_size // 2)))
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        line = str(error).strip().split("\n")[0][:300]
        raise TodusError("training stopped on its data or weights (%s); check the records: python -m todus.dataset.records verify DIR" % line)


def estimator(model: Model, config: pipeline.Config, settings: Settings) -> Dict:
    """The OD API's estimator and inputs for a config, with the trained ranges of a quantization-aware slice restored as well."""
    from todus.tf import tf
    from object_detection import model_hparams, model_lib

    run_config = tf.estimator.RunConfig(
        model_dir=str(model.training),
        save_checkpoints_steps=settings.save_steps,
        keep_checkpoint_max=settings.keep,
        save_summary_steps=max(1, settings.log_steps),
        log_step_count_steps=None,
    )
    pipeline.write(model.training / "pipeline.config", config)
    return model_lib.create_estimator_and_inputs(
        run_config=run_config,
        hparams=model_hparams.create_hparams(None),  # without it the OD API 2.8.0 does not load the fine_tune_checkpoint
        pipeline_config_path=str(model.training / "pipeline.config"),
        train_steps=config.train_config.num_steps,
        model_fn_creator=_restoring_model_fn_creator,
    )


def _restoring_model_fn_creator(*arguments, **options):
    """model_lib.create_model_fn, then what it leaves out: it loads the fine_tune_checkpoint before the graph rewriter adds the ranges."""
    from object_detection import model_lib

    configs = options["configs"] if "configs" in options else arguments[1]
    inner = model_lib.create_model_fn(*arguments, **options)

    def model_fn(features, labels, mode, params=None):
        spec = inner(features, labels, mode, params)
        checkpoint = configs["train_config"].fine_tune_checkpoint
        if mode == "train" and checkpoint:
            _restore_ranges(checkpoint)
        return spec

    return model_fn


def _restore_ranges(checkpoint: str) -> None:
    from todus.tf import tf

    shapes = dict(tf.train.list_variables(checkpoint))
    ranges = {
        variable.op.name: variable
        for variable in tf.global_variables()
        if variable.op.name.endswith(("quant/min", "quant/max")) and shapes.get(variable.op.name) == variable.shape.as_list()
    }
    if ranges:
        tf.train.init_from_checkpoint(checkpoint, ranges)


def _progress_hook(tf, every: int, steps: int, stop: _Stop, say: Callable[[str], None]):
    class Progress(tf.train.SessionRunHook):
        """A line every few steps, and the stop that a signal asked for."""

        def begin(self):
            self._loss = tf.get_default_graph().get_tensor_by_name("total_loss:0")
            self._step = tf.train.get_global_step()
            self._since = None

        def before_run(self, _context):
            return tf.train.SessionRunArgs([self._loss, self._step])

        def after_run(self, context, values):
            loss, step = values.results
            if loss != loss:
                raise tf.train.NanLossDuringTrainingError
            if stop.signal:
                context.request_stop()
            now = time.perf_counter()
            if self._since is None:
                self._since = (step, now)
                say("step %d of %d   loss %.4f" % (step, steps, loss))
            elif step - self._since[0] >= every or step >= steps:
                rate = (step - self._since[0]) / max(now - self._since[1], 1e-9)
                left = (steps - step) / rate if rate else 0
                say("step %d of %d   loss %.4f   %.2f steps/s   %s left" % (step, steps, loss, rate, _duration(left)))
                self._since = (step, now)

    return Progress()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "%d:%02d:%02d" % (hours, minutes, seconds)
