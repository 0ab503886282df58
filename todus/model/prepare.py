"""Prepares a model from a zoo archive: fetches it, limits it to a label map, patches its config."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from todus import __version__, categories, files, locks
from todus.dataset.records import reader
from todus.errors import TodusError
from todus.model import (
    added,
    checkpoint_values,
    class_columns,
    class_slice,
    heads,
    pipeline,
    pipeline_options,
    prepared,
    resources,
    run_plan,
    zoo,
)
from todus.paths import Dataset, Model
from todus.text import without_credentials

# Factors of the zoo's learning rate for trained weights: where every class is known, and beside new
# classes, which learn little at the first. docs/training.md has the measurements.
FINE_TUNING = 0.01
BESIDE_NEW = 0.16

# Decay of batch normalisation's moving averages where they cannot be frozen: their half-life is
# 2,300 steps.
SLOW_DECAY = 0.9997


@dataclass
class Request:
    """Which model to prepare, and how."""

    zoo_name: str
    dataset: Optional[Dataset] = None
    categories: Optional[str] = None  # the wanted classes, as in CATEGORIES, without a dataset
    archive: Optional[str] = None
    config: Optional[str] = None  # a pipeline.config instead of the archive's
    label_map: Optional[str] = None  # of a zoo model whose archive and table entry have none
    quantize: bool = False
    limit: bool = True  # False: a fresh head on the zoo model's features
    keep: Optional[str] = None  # the zoo's classes that stay as they are; the dataset's are added
    own_head: bool = False  # the added classes get boxes of their own
    batch_auto: bool = False
    options: pipeline_options.Options = field(default_factory=pipeline_options.Options)
    # The typed arguments, for messages that name the command that prepares the model again.
    command: List[str] = field(default_factory=list)


@dataclass
class Prepared:
    """The result of `prepare`."""

    sliced: class_slice.Slice
    config: pipeline.Config
    zoo_config: pipeline.Config
    zoo_names: Dict[int, str]
    names: Dict[int, str]
    start: str  # "slice", "features" (a fresh head) or "classification"
    added: List[str] = field(default_factory=list)  # classes that are trained beside kept ones
    bytes_before: int = 0
    bytes_after: int = 0
    notes: List[str] = field(default_factory=list)


def prepare(model: Model, request: Request) -> Prepared:
    """Fills model.pretrained, which stays unchanged where this fails or the process is killed.

    Raises:
      TodusError: there is no archive or no dataset, the config or checkpoint cannot be read, or
        the model cannot be limited.
    """
    if request.dataset:
        categories.read_label_map(request.dataset.check().label_map)
    elif request.categories and not request.archive and zoo.find(request.zoo_name):
        bundled = categories.bundled(zoo.find(request.zoo_name).labels)
        categories.choose(request.categories, bundled, "the model's classes")
    locked = locks.exclusive(model.pretrained, "model %s" % model.name)
    # A training reads pretrained/ until its end, and its run.json would be of other classes.
    refusal = "%s is in training by %%s; stop that (./train.sh --stop), or give another --as"
    untrained = locks.shared(model.training, "a preparation", refusal % model.name)
    with _removing_empty_folders(model), locked, untrained:
        files.recover_folder(model.pretrained)
        edited = _edited_pipeline(model)
        with files.replacing_folder(model.pretrained) as new, _naming_the_archive(request, new):
            source = _zoo_files(model, request, new)
            result = _limit_and_patch(model, request, new, source)
            if edited is not None:
                kept = _unused(model.pretrained / "pipeline.config.edited")
                (new / kept.name).write_bytes(edited)
                text = "pipeline.config had been edited by hand: that one is kept as pretrained/%s"
                result.notes.append(text % kept.name)
    return result


@contextlib.contextmanager
def _removing_empty_folders(model: Model) -> Iterator[None]:
    """Removes empty folders after an error; a partial download stays for the next run."""
    try:
        yield
    except TodusError:
        for folder in (files.beside(model.pretrained, "download"), model.folder):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _naming_the_archive(request: Request, new: Path) -> Iterator[None]:
    """Changes the paths in messages: after an error the new folder is gone."""
    try:
        yield
    except TodusError as error:
        text = str(error).replace("%s/" % new, "%s: " % _archive_name(request))
        raise (type(error)(text) if str(new) in str(error) else error)


def _edited_pipeline(model: Model) -> Optional[bytes]:
    """The bytes of pipeline.config where they are not those that `prepare` wrote."""
    source = prepared.prepared_from(model)
    if not source or not model.pipeline.exists():
        return None
    data = model.pipeline.read_bytes()
    return data if hashlib.sha256(data).hexdigest() != source.get("pipeline_sha256") else None


def _unused(path: Path) -> Path:
    number = 1
    while path.with_name("%s-%d" % (path.name, number)).exists():
        number += 1
    return path.with_name("%s-%d" % (path.name, number))


def _zoo_files(model: Model, request: Request, new: Path) -> Dict:
    """Links the zoo's files into `new`, or unpacks their archive. Returns their source."""
    base = None if request.archive else added.base_of(request.zoo_name, model)
    if base:
        return added.copy_base(base, new)
    before = prepared.prepared_from(model)
    wanted = _archive_name(request)
    half = "uint8" if request.quantize else "fp32"
    if before and before.get("half", half) == half and _is_from(before, request):
        _link_tree(model.pretrained, new)
        keys = ("zoo", "archive", "archive_sha256", "half")
        return {key: before[key] for key in keys if key in before}
    downloads = files.beside(model.pretrained, "download")
    downloads.mkdir(exist_ok=True)
    archive = zoo.fetch_archive(request.zoo_name, request.archive, downloads)
    digest = files.sha256(archive)
    try:
        zoo.unpack_archive(archive, new, request.quantize)
    except TodusError:
        if archive.parent == downloads:
            archive.unlink()  # else the next run takes it again, and never asks the mended server
        raise
    if not (new / "zoo-pipeline.config").exists() and not request.config:
        raise TodusError(
            "%s holds no pipeline.config; give one with --config FILE "
            "(the OD API's samples have one a model)" % wanted
        )
    shutil.rmtree(str(downloads))
    return {"zoo": request.zoo_name, "archive": wanted, "archive_sha256": digest, "half": half}


def _archive_name(request: Request) -> str:
    if request.archive and "://" not in request.archive:
        return str(Path(request.archive).expanduser().resolve())
    return without_credentials(request.archive or zoo.archive_url(request.zoo_name))


def _is_from(before: Dict, request: Request) -> bool:
    """Whether the last preparation took this archive; that of the zoo may be of any mirror."""
    wanted, found = _archive_name(request), str(before.get("archive"))
    if request.archive:
        return found == wanted and _same_local_archive(before, request)
    is_of_zoo = before.get("zoo") == request.zoo_name and "--archive" not in str(
        before.get("command")
    )
    return found == wanted or (
        is_of_zoo and "://" in found and found.split("/")[-1] == wanted.split("/")[-1]
    )


def _same_local_archive(before: Dict, request: Request) -> bool:
    """Compares the digest of a local archive, whose name may stay the same when it changes."""
    if not request.archive or "://" in request.archive:
        return True
    path = Path(request.archive).expanduser()
    return path.is_file() and files.sha256(path) == before.get("archive_sha256")


# What an earlier preparation wrote, as opposed to the archive's files.
_MADE_HERE = {"pipeline.config", "limited", "source.json", "given-pipeline.config"}


def _link_tree(source: Path, target: Path) -> None:
    """Links the zoo's files and the configs that the user edited."""
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if inside.parts[0] in _MADE_HERE or inside.parts[0].startswith("."):
            continue
        if path.is_dir():
            (target / inside).mkdir(exist_ok=True)
        else:
            files.link_or_copy(path, target / inside)


def _limit_and_patch(model: Model, request: Request, new: Path, source: Dict) -> Prepared:
    notes: List[str] = []
    zoo_config, classes = _base_config(request, new, notes)
    zoo_names = zoo.label_map_of(request.zoo_name, new)
    if request.label_map:
        zoo_names = categories.read_label_map(request.label_map)
    names, new_classes = wanted_names(request, zoo_names), []
    if request.keep:
        added.check(zoo_config, request.quantize)
        names, new_classes = added.names(request.keep, zoo_names, names)
    variables = checkpoint_values.read_checkpoint(new / "model.ckpt")
    sliced, start = _start(request, variables, zoo_config, classes, zoo_names, names)
    config = pipeline.Config()
    config.CopyFrom(zoo_config)
    if request.own_head:
        moved = [identity - 1 for identity, name in names.items() if name in new_classes]
        sliced.variables = heads.with_another(sliced.variables, config, max(names), moved)
        heads.add(config)
    made = Prepared(sliced, config, zoo_config, zoo_names, names, start, new_classes, notes=notes)
    limited = new / "limited"
    limited.mkdir()
    checkpoint = limited / _start_checkpoint(model, start).name
    if start != "classification":
        checkpoint_values.write_checkpoint(checkpoint, sliced.variables)
    categories.write_label_map(limited / "label_map.pbtxt", names)
    categories.write_label_map(new / "label_map.pbtxt", zoo_names)
    cost = _patch(made, model, request, variables)
    text = pipeline.to_text(config)
    files.write_text(new / "pipeline.config", text)
    source.update(
        todus=__version__,
        command=[without_credentials(word) for word in request.command],
        categories=[{"id": identity, "name": name} for identity, name in sorted(names.items())],
        dataset=request.dataset.name if request.dataset else None,
        fresh=sliced.fresh,
        added=made.added,
        own_head=request.own_head,
        start=start,
        pipeline_sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
        cost={"parameters": cost.parameters, "activations": cost.activations} if cost else None,
    )
    files.write_json(new / "source.json", source)
    made.bytes_before, made.bytes_after = _size(new / "model.ckpt"), _size(checkpoint)
    return made


def _start_checkpoint(model: Model, start: str) -> Path:
    return model.limited_checkpoint if start == "slice" else model.features_checkpoint


def _size(prefix: Path) -> int:
    return sum(path.stat().st_size for path in prefix.parent.glob(prefix.name + ".data-*"))


def _base_config(request: Request, new: Path, notes: List[str]) -> Tuple[pipeline.Config, int]:
    """The config to start from, and the number of classes of the archive's checkpoint."""
    own = new / "zoo-pipeline.config"
    config = pipeline.read(request.config or own, notes.append)
    if request.config:
        (new / "given-pipeline.config").write_bytes(Path(request.config).read_bytes())
    zoo_config = pipeline.read(own) if request.config and own.exists() else config
    return config, pipeline.meta(zoo_config).num_classes


def _start(
    request: Request, variables, zoo_config, classes: int, zoo_names, names
) -> Tuple[class_slice.Slice, str]:
    """The limited checkpoint's variables, and the kind of start: see Prepared."""
    if class_slice.is_classification(variables):
        return class_slice.without_classes(variables, zoo_config), "classification"
    if not request.limit:
        return class_slice.without_classes(variables, zoo_config), "features"
    config = pipeline.Config()
    config.CopyFrom(zoo_config)
    pipeline.meta(config).num_classes = classes
    silent = bool(request.keep)
    return class_slice.slice_variables(variables, config, zoo_names, names, silent=silent), "slice"


def wanted_names(request: Request, zoo_names: Mapping[int, str]) -> Dict[int, str]:
    """The label map of the limited model: the dataset's, else 1..N for the chosen classes."""
    if request.dataset:
        return categories.read_label_map(request.dataset.label_map)
    if request.categories == "all":
        return dict(zoo_names)
    chosen = categories.choose(request.categories or "", zoo_names, "the model's classes")
    return categories.renumbered(chosen)


def _patch(made: Prepared, model: Model, request: Request, variables) -> Optional[resources.Costs]:
    """Patches made.config for the limited model. Returns its costs where they were needed."""
    config, start = made.config, made.start
    pipeline.meta(config).num_classes = max(made.names)
    pipeline.set_mask_depth(config, class_columns.mask_depth(config, variables))
    if start == "classification":
        pipeline.set_fine_tuning(config, model.zoo_checkpoint, "classification")
    else:
        pipeline.set_fine_tuning(config, _start_checkpoint(model, start))
    pipeline.set_override_hyperparams(config)
    pipeline.set_one_replica(config)
    pipeline.drop_step_zero(config)
    train: Dict[str, Any] = {}
    if request.dataset:
        prepared.set_dataset(config, request.dataset)
        train = reader.read_manifest(request.dataset)["splits"].get("train", {})
        if train.get("negatives"):
            pipeline.set_min_negatives(config)
    else:
        pipeline.set_inputs(config, model.limited_label_map, {}, 0)
    if request.quantize and not pipeline.is_quantized(config):
        pipeline.set_quantization(config, 0)
    options, cost = request.options, None
    if made.added:
        options, line = added.set_training(config, options, train.get("images", 0))
        made.notes.append(line)
    elif start == "slice" and made.sliced.from_zoo:
        _protect_trained_weights(config, request, made)
    elif start == "slice" and options.freeze is None:
        options = replace(options, freeze="backbone")
        text = "no class is the zoo model's: its backbone is frozen, and the predictor is trained; "
        made.notes.append(text + "--freeze none trains all")
    if made.added:
        cost = _cost(config, options)
    elif request.dataset or request.batch_auto:
        cost = _cost(config, options)
        images = train.get("images", 0)
        options, lines = run_plan.complete(config, options, images, cost, request.batch_auto)
        made.notes += lines
    pipeline_options.apply(config, options, made.notes.append)
    if pipeline.is_quantized(config) and request.options.quantization_delay is None:
        trained = start == "slice" and checkpoint_values.has_ranges(list(variables))
        pipeline.set_quantization(config, 0 if trained else pipeline.default_delay(config))
    if cost:
        warning = resources.memory_warning(cost, config.train_config.batch_size, "--batch-size ")
        made.notes += [warning] if warning else []
    return cost


def _cost(config: pipeline.Config, options: pipeline_options.Options) -> resources.Costs:
    """The costs of the network with the input size of `options`."""
    resized = pipeline.Config()
    resized.CopyFrom(config)
    pipeline_options.apply(resized, options)
    return resources.costs(resized)


def _protect_trained_weights(config: pipeline.Config, request: Request, made: Prepared) -> None:
    """Sets a low learning rate and keeps batch normalisation: the weights are trained already.

    The statistics of small batches would soon replace the zoo's of large ones. In a
    quantization-aware graph the averages change slowly instead.
    """
    if request.options.learning_rate is None:
        factor = BESIDE_NEW if made.sliced.fresh else FINE_TUNING
        pipeline.scale_learning_rates(config, factor)
        text = "the weights are trained already: the learning rate is %g of the zoo's; "
        made.notes.append(text % factor + "--learning-rate sets another")
    if not pipeline.is_quantized(config):
        pipeline.freeze_batch_norm(config, config.model)
        return
    for batch_norm in pipeline.batch_norms(config.model):
        batch_norm.decay = max(batch_norm.decay, SLOW_DECAY)
