"""Writes shards on Apache Beam: with several processes, or on a cluster that shares a disk.

The pipeline carries the names of shards. A worker reads what a shard holds from FILE.plan, writes
it as todus.dataset.records.shards does, and then FILE.json, in a folder beside the dataset that all
workers see at one path. What is there with the digest of its plan is not written again.
"""

import dataclasses
import hashlib
import json
import os
import pickle
import shlex
import socket
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from todus import files
from todus.command import say
from todus.dataset import image_bytes
from todus.dataset.records import verify
from todus.dataset.records.shards import Options, Plan, Shard, write_shard
from todus.errors import TodusError

NAMED = {
    "memory": "--runner=DirectRunner --direct_running_mode=in_memory",
    "processes": "--runner=DirectRunner --direct_running_mode=multi_processing",
}


def folder_of(dataset: Path) -> Path:
    """Where the shards of a dataset's folder are until all are written."""
    return files.beside(dataset, "shards")


def write(
    plans: List[Plan],
    names: Dict[int, str],
    id_map: Dict[int, int],
    options: Options,
    work: Path,
) -> Iterator[Tuple[Plan, Shard]]:
    """Writes the shards, moves them to the paths of the plans, and yields as `shards.write` does.

    Args:
      plans, names, id_map, options: as there; `options.runner` is RUNNER.
      work: from `folder_of`; it stays where the build is interrupted, for the next one.

    Raises:
      TodusError: a shard could not be written.
    """
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    digests = [_digest(plan, names, id_map, options) for plan in plans]
    todo = []
    for plan, digest in zip(plans, digests):
        if not _is_done(work, plan, digest):
            order = (digest, plan, names, id_map, options)
            with files.replacing(work / (plan.path.name + ".plan")) as part:
                part.write_bytes(pickle.dumps(order))
            todo.append(str(work / plan.path.name))
    before = len(plans) - len(todo)
    say("Apache Beam writes %d shards; %d are there from before" % (len(todo), before))
    if todo:
        _run(todo, options)
    for plan, digest in zip(plans, digests):
        about = _about(work, plan)
        if about.get("error"):
            raise TodusError(about["error"])
        if not _is_done(work, plan, digest):
            raise TodusError("%s was not written; run the same command again" % plan.path.name)
        os.replace(str(work / plan.path.name), str(plan.path))
        yield plan, _shard(plan, about)


def _run(names: List[str], options: Options) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = shlex.split(NAMED.get(options.runner, options.runner))
    if options.runner == "processes":
        flags.append("--direct_num_workers=%d" % options.jobs)
    try:
        with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
            _ = pipeline | beam.Create(names) | beam.Reshuffle() | beam.Map(_write)
    except Exception as error:  # the runners' exceptions have no common class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        text = "Apache Beam: %s; the shards that are written stay: run the same command again"
        raise TodusError(text % reason[:300])


def _write(path: str) -> None:
    """Writes the shard of PATH.plan to PATH, then PATH.json; runs in a worker."""
    target = Path(path)
    digest, plan, names, id_map, options = pickle.loads(Path(path + ".plan").read_bytes())
    # In two containers, a host's name and a PID can be the same.
    own = (socket.gethostname(), os.getpid(), os.urandom(4).hex())
    part = files.beside(target, "%s-%d-%s" % own)
    try:
        shard = write_shard(dataclasses.replace(plan, path=part), names, id_map, options)
    except TodusError as error:
        files.write_json(path + ".json", {"digest": digest, "error": str(error)})
        return
    os.replace(str(part), path)
    place = {id(image): number for number, image in enumerate(plan.images)}
    about: Dict[str, Any] = {"digest": digest, "counts": vars(shard.counts)}
    about["dropped"] = [[place[id(image)], reason] for image, reason in shard.dropped]
    about.update({key: getattr(shard, key) for key in ("bytes", "sha256", "examples")})
    files.write_json(path + ".json", about)


def _about(work: Path, plan: Plan) -> Dict[str, Any]:
    """What FILE.json says; {} where it is missing or damaged."""
    try:
        return dict(files.read_json(work / (plan.path.name + ".json")))
    except (TodusError, TypeError, ValueError):
        return {}


def _is_done(work: Path, plan: Plan, digest: str) -> bool:
    path, about = work / plan.path.name, _about(work, plan)
    same = about.get("digest") == digest and not about.get("error")
    return same and path.exists() and path.stat().st_size == about.get("bytes")


def _shard(plan: Plan, about: Mapping[str, Any]) -> Shard:
    counts = verify.Counts()
    for name, value in about["counts"].items():
        is_number = isinstance(value, int)
        setattr(counts, name, value if is_number else type(getattr(counts, name))(value))
    dropped = [(plan.images[number], reason) for number, reason in about["dropped"]]
    values = (about["bytes"], about["sha256"], about["examples"], counts, dropped)
    return Shard(plan.path.name, *values)


def _digest(plan: Plan, names: Dict[int, str], id_map: Dict[int, int], options: Options) -> str:
    """SHA-256 of all that the bytes of a shard depend on; of an image's file, size and time."""
    own = {**vars(options), "jobs": 0, "runner": ""}
    digest = hashlib.sha256(json.dumps([own, plan.path.name]).encode("utf-8"))
    digest.update(repr((sorted(names.items()), sorted(id_map.items()))).encode("utf-8"))
    for image in plan.images:
        path = image.member.file if hasattr(image.member, "file") else image.path
        time = os.stat(str(path)).st_mtime_ns if path else 0
        digest.update(repr((image, image_bytes.size(image), time)).encode("utf-8", "replace"))
    return digest.hexdigest()
