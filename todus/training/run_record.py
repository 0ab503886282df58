"""training/run.json: what a run is made of, and every start and stop of it with its reason."""

import hashlib
import os
import platform
import socket
import time
from typing import Any, Dict, List, Optional

from todus import __version__, files
from todus.errors import TodusError
from todus.model import artefacts, checkpoints, pipeline
from todus.paths import Model

MOST_DIFFERENCES = 5


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read(model: Model) -> Dict[str, Any]:
    """What run.json says, with an empty list of events where there is none yet."""
    path = model.training / "run.json"
    run = files.read_json(path) if path.exists() else {"todus": __version__, "model": model.name}
    if isinstance(run, dict):
        run.setdefault("events", [])
    if not _is_run(run):
        raise TodusError("%s is not a run's record; move %s away" % (path, model.training))
    return run


def _is_run(run: Any) -> bool:
    if (
        not isinstance(run, dict)
        or not isinstance(run["events"], list)
        or not all(map(_is_event, run["events"]))
    ):
        return False
    classes = run.get("classes", [])
    return isinstance(classes, list) and all(isinstance(name, str) for name in classes)


def _is_event(event: Any) -> bool:
    """Whether it is a start, or a stop: of one that was killed the moment is not known."""
    if not isinstance(event, dict) or not files.is_number(event.get("step", 0)):
        return False
    if "started" in event:
        numbers = [
            event.get(key)
            for key in (
                "num_steps",
                "batch_size",
                "learning_rate",
                "quantization_delay",
                "eval_sample",
            )
        ]
        return isinstance(event["started"], str) and all(
            each is None or files.is_number(each) for each in numbers
        )
    return isinstance(event.get("stopped", 0), (str, type(None))) and isinstance(
        event.get("reason"), str
    )


def status(model: Model) -> Dict[str, Any]:
    """What training/status.json says of a trainer at work, {} where there is none. Raises TodusError for one that no trainer wrote."""
    path = model.training / "status.json"
    now = files.read_json(path) if path.exists() else {}
    if now == {}:
        return {}
    needed = {"step", "num_steps", "time"}
    if isinstance(now, dict) and now.get("steps_per_second"):
        needed.add("seconds_left")
    numbers = needed | {"loss", "learning_rate", "steps_per_second"}
    if not isinstance(now, dict) or not all(
        files.is_number(now.get(key))
        for key in numbers
        if key in needed or now.get(key) is not None
    ):
        raise TodusError("%s is not a trainer's; remove it" % path)
    return now


def begin(
    model: Model, config: pipeline.Config, manifest: Dict[str, Any], step: int, more: Dict[str, Any]
) -> List[str]:
    """Notes a start; the caller holds the lock of training/.

    Args:
      model: whose training/ it is.
      config: with the settings of this start.
      manifest: of the dataset.
      step: of the checkpoint that it goes on from, 0 for the beginning.
      more: settings to keep beside the event.

    Returns:
      Sentences on what is unlike the last start.

    Raises:
      TodusError: training/ was begun with other classes or another config.
    """
    run = read(model)
    classes = [item["name"] for item in manifest["categories"]]
    if step or checkpoints.latest(model):
        _check_classes(model, run, classes)
        _check_config(model, config)
    last = _last_start(run)
    event = {"started": now(), "pid": os.getpid(), "host": socket.gethostname(), "step": step}
    event.update(_settings_of(config), dataset_digest=manifest.get("digest"), **more)
    notes = _close_lost(run, step)
    notes += _changes(last, event) if step and last else []
    run.update(
        todus=__version__,
        classes=classes,
        **artefacts.recorded(
            artefacts.identity(
                {item["id"]: item["name"] for item in manifest["categories"]}, config
            )
        ),
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
    """Notes a stop and why."""
    run = read(model)
    run["events"].append({"stopped": now(), "step": step, "reason": reason})
    files.write_json(model.training / "run.json", run)


def _last_start(run: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    return ([event for event in run["events"] if "started" in event] or [None])[-1]


def _close_lost(run: Dict[str, Any], step: int) -> List[str]:
    """A start without a stop was killed."""
    if not run["events"] or "started" not in run["events"][-1]:
        return []
    lost = run["events"][-1]
    run["events"].append({"stopped": None, "step": step, "reason": "killed, without a word"})
    return [
        "the last trainer (PID %s on %s) was killed; its lock is stale"
        % (lost.get("pid"), lost.get("host"))
    ]


def _settings_of(config: pipeline.Config) -> Dict[str, Any]:
    rates = pipeline.optimizer_rates(config)
    rate = getattr(*rates[0]) if rates else None
    result = {
        "num_steps": config.train_config.num_steps,
        "batch_size": config.train_config.batch_size,
        "learning_rate": rate,
    }
    if pipeline.is_quantized(config):
        result["quantization_delay"] = config.graph_rewriter.quantization.delay
    return result


def _changes(last: Dict[str, Any], event: Dict[str, Any]) -> List[str]:
    words = {"num_steps": "steps", "batch_size": "batch size", "learning_rate": "learning rate"}
    notes = [
        "%s %s, was %s" % (word, _short(event[key]), _short(last.get(key)))
        for key, word in words.items()
        if last.get(key) is not None and last[key] != event[key]
    ]
    if last.get("dataset_digest") and last["dataset_digest"] != event["dataset_digest"]:
        notes.append("the dataset is not the one of the last start; its classes are the same")
    return notes


def _short(value: Any) -> str:
    return "%.6g" % value if isinstance(value, float) else str(value)


def _check_classes(model: Model, run: Dict[str, Any], classes: List[str]) -> None:
    before = run.get("classes", classes)
    if before != classes:
        raise TodusError(
            "%s was begun with the classes %s, the dataset now has %s; move that folder away, or prepare under another name with --as"
            % (model.training, ", ".join(before), ", ".join(classes))
        )


def _check_config(model: Model, config: pipeline.Config) -> None:
    path = model.training / "pipeline.config"
    if not path.exists():
        return
    before = pipeline.read(path)
    if pipeline.is_quantized(before) != pipeline.is_quantized(config):
        raise TodusError(
            "%s was begun %s quantization-aware training, pipeline.config is now %s it: its checkpoints do not fit; "
            "move that folder away, or prepare under another name with --as"
            % (
                (model.training,)
                + (("with", "without") if pipeline.is_quantized(before) else ("without", "with"))
            )
        )
    found = pipeline.changes(comparable(before), comparable(config))
    if found:
        more = (
            " and %d more" % (len(found) - MOST_DIFFERENCES)
            if len(found) > MOST_DIFFERENCES
            else ""
        )
        raise TodusError(
            "%s was begun with another pipeline.config: %s%s; move that folder away to begin anew, or undo the change"
            % (model.training, "; ".join(found[:MOST_DIFFERENCES]), more)
        )


def comparable(config: pipeline.Config) -> pipeline.Config:
    """A copy without what may change between two starts of one run: steps, batch size, learning rate, paths, reading, evaluation."""
    copy = pipeline.Config()
    copy.CopyFrom(config)
    for field in ("train_input_reader", "eval_input_reader", "eval_config"):
        copy.ClearField(field)
    for field in ("num_steps", "batch_size", "fine_tune_checkpoint"):
        copy.train_config.ClearField(field)
    kind = copy.train_config.optimizer.WhichOneof("optimizer")
    if kind:
        getattr(copy.train_config.optimizer, kind).ClearField("learning_rate")
    if pipeline.is_quantized(copy):
        copy.graph_rewriter.quantization.ClearField("delay")
    return copy


def digest(config: pipeline.Config) -> str:
    """SHA-256 of what may not change within a run."""
    return hashlib.sha256(pipeline.to_text(comparable(config)).encode("utf-8")).hexdigest()


def _versions() -> Dict[str, str]:
    import numpy

    versions = {"python": platform.python_version(), "numpy": numpy.__version__}
    try:
        import pkg_resources

        for name in ("tensorflow", "tf-models-research-object-detection"):
            versions[name] = pkg_resources.get_distribution(name).version
    except Exception:  # an environment of the person's own may name them otherwise
        pass
    return versions
