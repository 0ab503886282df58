"""training/run.json: the dataset, config and versions of a run, and each start and stop."""

import hashlib
import os
import platform
import socket
import time
from typing import Any, Dict, List, Mapping

from todus import __version__, files
from todus.errors import TodusError
from todus.model import artefacts, checkpoints, pipeline
from todus.paths import Model

MOST_DIFFERENCES = 5

FINISHED = "reached num_steps"  # the reason of a stop


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read(model: Model) -> Dict[str, Any]:
    """The content of run.json, with "events" [] before the first start.

    Raises TodusError when the file is not a run.json.
    """
    path = model.training / "run.json"
    run = files.read_json(path) if path.exists() else {"todus": __version__, "model": model.name}
    if isinstance(run, dict):
        run.setdefault("events", [])
    if not _is_run(run):
        raise TodusError("%s is not a run.json of a training; move %s away" % (path, path.parent))
    return run


def _is_run(run: Any) -> bool:
    if not isinstance(run, dict) or not isinstance(run["events"], list):
        return False
    classes = run.get("classes", [])
    names_are_text = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return names_are_text and all(map(_is_event, run["events"]))


def _is_event(event: Any) -> bool:
    """Whether it is a start, or a stop; the time of a stop is null where the trainer was killed."""
    if not isinstance(event, dict) or not files.is_number(event.get("step", 0)):
        return False
    if "started" in event:
        settings = ("num_steps", "batch_size", "learning_rate", "quantization_delay", "eval_sample")
        numbers = [event[key] for key in settings if event.get(key) is not None]
        return isinstance(event["started"], str) and all(map(files.is_number, numbers))
    has_time = isinstance(event.get("stopped", 0), (str, type(None)))
    return has_time and isinstance(event.get("reason"), str)


def status(model: Model) -> Dict[str, Any]:
    """The content of training/status.json, {} without one. Raises TodusError for another file."""
    path = model.training / "status.json"
    found = files.read_json(path) if path.exists() else {}
    if found == {}:
        return {}
    if not isinstance(found, dict) or not _is_status(found):
        raise TodusError("%s is not a status.json of a training; remove it" % path)
    return found


def _is_status(found: Dict[str, Any]) -> bool:
    needed = ["step", "num_steps", "time"]
    if found.get("steps_per_second"):
        needed.append("seconds_left")
    optional = ("loss", "learning_rate", "steps_per_second")
    known = [found[key] for key in optional if found.get(key) is not None]
    return all(map(files.is_number, [found.get(key) for key in needed] + known))


def begin(
    model: Model,
    config: pipeline.Config,
    names: Mapping[int, str],
    manifest: Dict[str, Any],
    step: int,
    more: Dict[str, Any],
) -> List[str]:
    """Records a start; the caller holds the lock of training/.

    Args:
      config: with the settings of this start; `more` are further settings to record.
      names: the model's label map.
      manifest: of the dataset.
      step: of the checkpoint that it resumes from, 0 without one.

    Returns:
      A sentence for each difference from the last start.

    Raises:
      TodusError: training/ was started with other classes or another config.
    """
    run = read(model)
    classes = list(names.values())
    if step or checkpoints.latest(model):
        _check_classes(model, run, classes)
        _check_config(model, config)
    last = last_start(run)
    event = {"started": now(), "pid": os.getpid(), "host": socket.gethostname(), "step": step}
    event.update(_settings_of(config), dataset_digest=manifest.get("digest"), **more)
    notes = _close_lost(run, step)
    notes += _changes(last, event) if step and last else []
    run.update(
        todus=__version__,
        classes=classes,
        **artefacts.recorded(artefacts.identity(names, config)),
        dataset=manifest.get("name"),
        dataset_digest=manifest.get("digest"),
        config_digest=digest(config),
        quantized=pipeline.is_quantized(config),
        versions=_versions(),
    )
    run["events"].append(event)
    files.write_json(model.training / "run.json", run)
    return notes


def end(model: Model, step: int, reason: str) -> None:
    """Records a stop and its reason."""
    run = read(model)
    run["events"].append({"stopped": now(), "step": step, "reason": reason})
    files.write_json(model.training / "run.json", run)


def complete(model: Model, step: int) -> bool:
    """Records that a run is finished whose trainer was killed or stopped after its last step.

    Returns whether there was such a trainer.
    """
    run = read(model)
    last = ([{}] + run["events"])[-1]
    is_cut = "started" in last or last.get("reason", "").startswith("signal")
    if not is_cut or step < last_start(run).get("num_steps", 0):
        return False
    run["events"].append({"stopped": None, "step": step, "reason": FINISHED})
    files.write_json(model.training / "run.json", run)
    return True


def last_start(run: Dict[str, Any]) -> Dict[str, Any]:
    """The event of the last start, {} without one."""
    return ([event for event in run["events"] if "started" in event] or [{}])[-1]


def _close_lost(run: Dict[str, Any], step: int) -> List[str]:
    """Records a stop for a start that has none: its trainer was killed."""
    if not run["events"] or "started" not in run["events"][-1]:
        return []
    lost = run["events"][-1]
    run["events"].append({"stopped": None, "step": step, "reason": "killed"})
    trainer = (lost.get("pid"), lost.get("host"))
    return ["the last trainer (PID %s on %s) was killed; its lock is stale" % trainer]


def _settings_of(config: pipeline.Config) -> Dict[str, Any]:
    rates, train_config = pipeline.optimizer_rates(config), config.train_config
    result = {"num_steps": train_config.num_steps, "batch_size": train_config.batch_size}
    result["learning_rate"] = getattr(*rates[0]) if rates else None
    if pipeline.is_quantized(config):
        result["quantization_delay"] = config.graph_rewriter.quantization.delay
    return result


def _changes(last: Dict[str, Any], event: Dict[str, Any]) -> List[str]:
    words = {"num_steps": "steps", "batch_size": "batch size", "learning_rate": "learning rate"}
    notes = [
        "%s %s, was %s" % (word, _short(event[key]), _short(last[key]))
        for key, word in words.items()
        if last.get(key) not in (None, event[key])
    ]
    if last.get("dataset_digest") not in (None, "", event["dataset_digest"]):
        notes.append("the dataset has changed since the last start; its classes are the same")
    return notes


def _short(value: Any) -> str:
    return "%.6g" % value if isinstance(value, float) else str(value)


def _check_classes(model: Model, run: Dict[str, Any], classes: List[str]) -> None:
    before = run.get("classes", classes)
    if before != classes:
        raise TodusError(
            "%s was started with the classes %s, the dataset now has %s; move that folder away, "
            "or prepare under another name with --as"
            % (model.training, ", ".join(before), ", ".join(classes))
        )


def _check_config(model: Model, config: pipeline.Config) -> None:
    path = model.training / "pipeline.config"
    if not path.exists():
        return
    before = pipeline.read(path)
    if pipeline.is_quantized(before) != pipeline.is_quantized(config):
        words = ["with" if pipeline.is_quantized(each) else "without" for each in (before, config)]
        raise TodusError(
            "%s was started %s quantization-aware training, pipeline.config is now %s it: its "
            "checkpoints do not fit; move that folder away, or prepare under another name with --as"
            % (model.training, *words)
        )
    found = pipeline.changes(comparable(before), comparable(config))
    if found:
        text = "; ".join(found[:MOST_DIFFERENCES])
        if len(found) > MOST_DIFFERENCES:
            text += " and %d more" % (len(found) - MOST_DIFFERENCES)
        raise TodusError(
            "%s was started with another pipeline.config: %s; "
            "move that folder away to start again, or undo the change" % (model.training, text)
        )


def comparable(config: pipeline.Config) -> pipeline.Config:
    """A copy without the fields that may change between two starts of a run."""
    copy = pipeline.Config()
    copy.CopyFrom(config)
    for field in ("train_input_reader", "eval_input_reader", "eval_config"):
        copy.ClearField(field)
    for field in ("num_steps", "batch_size", "fine_tune_checkpoint"):
        copy.train_config.ClearField(field)
    if pipeline.architecture(copy) == "ssd":
        copy.model.ssd.ClearField("freeze_batchnorm")
        if copy.model.ssd.loss.HasField("hard_example_miner"):
            copy.model.ssd.loss.hard_example_miner.ClearField("min_negatives_per_image")
    kind = copy.train_config.optimizer.WhichOneof("optimizer")
    if kind:
        getattr(copy.train_config.optimizer, kind).ClearField("learning_rate")
    if pipeline.is_quantized(copy):
        copy.graph_rewriter.quantization.ClearField("delay")
    return copy


def digest(config: pipeline.Config) -> str:
    """SHA-256 of the fields that must not change within a run."""
    return hashlib.sha256(pipeline.to_text(comparable(config)).encode("utf-8")).hexdigest()


def _versions() -> Dict[str, str]:
    import numpy

    versions = {"python": platform.python_version(), "numpy": numpy.__version__}
    try:
        import pkg_resources

        for name in ("tensorflow", "tf-models-research-object-detection"):
            versions[name] = pkg_resources.get_distribution(name).version
    except Exception:  # in the user's own environment the packages may have other names
        pass
    return versions
