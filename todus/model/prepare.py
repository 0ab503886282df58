"""From a zoo archive to a model that is ready to train or export: fetched, limited to a label map, its pipeline patched."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from todus import __version__, categories, files, locks
from todus.errors import TodusError
from todus.machine import memory
from todus.model import (
    checkpoint_values,
    class_columns,
    class_slice,
    pipeline,
    pipeline_options,
    prepared,
    resources,
    zoo,
)
from todus.paths import Dataset, Model

# Of the zoo's learning rate, for a slice whose classes are all trained.
FINE_TUNING = 0.01

# Of the moving averages of batch normalisation, where they cannot be frozen: half of the old is left after 2,300 steps.
SLOW_DECAY = 0.9997


@dataclass
class Request:
    """What to make of which model."""

    zoo_name: str
    dataset: Optional[Dataset] = None
    categories: Optional[str] = (
        None  # the wanted classes, as in CATEGORIES, where there is no dataset
    )
    archive: Optional[str] = None
    config: Optional[str] = None  # a pipeline.config in the place of the archive's
    label_map: Optional[str] = (
        None  # of the zoo model, where neither the archive nor the table knows
    )
    quantize: bool = False
    limit: bool = True  # False: a fresh head on the zoo model's features
    batch_auto: bool = False
    options: pipeline_options.Options = field(default_factory=pipeline_options.Options)
    command: List[str] = field(
        default_factory=list
    )  # the arguments that were typed, for messages that say how to prepare it again


@dataclass
class Prepared:
    """What `prepare` made, for the report."""

    sliced: class_slice.Slice
    config: pipeline.Config
    zoo_config: pipeline.Config
    zoo_names: Dict[int, str]
    names: Dict[int, str]
    start: str  # "slice", "features" (a fresh head) or "classification"
    bytes_before: int = 0
    bytes_after: int = 0
    notes: List[str] = field(default_factory=list)


def prepare(model: Model, request: Request, say: Callable[[str], None]) -> Prepared:
    """Fills model.pretrained. It is as it was if anything fails or the process is killed.

    Raises:
      TodusError: no archive, no dataset, an unreadable config or checkpoint, a model that cannot be limited.
    """
    if request.dataset:
        categories.read_label_map(request.dataset.check().label_map)
    elif request.categories and not request.archive and zoo.find(request.zoo_name):
        categories.choose(
            request.categories,
            categories.bundled(zoo.find(request.zoo_name).labels),
            "the model's classes",
        )
    with _leaving_nothing_empty(model), locks.exclusive(model.pretrained, "model %s" % model.name):
        files.recover_folder(model.pretrained)
        edited = _edited_pipeline(model)
        with files.replacing_folder(model.pretrained) as new:
            source = _zoo_files(model, request, new, say)
            result = _limit_and_patch(model, request, new, source)
            if edited is not None:
                kept = _unused(model.pretrained / "pipeline.config.edited")
                (new / kept.name).write_bytes(edited)
                result.notes.append(
                    "pipeline.config had been edited by hand: that one is kept as pretrained/%s"
                    % kept.name
                )
    return result


@contextlib.contextmanager
def _leaving_nothing_empty(model: Model) -> Iterator[None]:
    """A preparation that failed leaves no empty folders; the part of a download stays, so that the next run goes on from it."""
    try:
        yield
    except TodusError:
        for folder in (files.beside(model.pretrained, "download"), model.folder):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _edited_pipeline(model: Model) -> Optional[bytes]:
    """The bytes of pipeline.config when they are not those that were written here."""
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


def _zoo_files(model: Model, request: Request, new: Path, say: Callable[[str], None]) -> Dict:
    """Puts the zoo's files into `new`, from the last time when they are of the same archive, else unpacked. Returns their source."""
    before = prepared.prepared_from(model)
    wanted = _archive_name(request)
    half = "uint8" if request.quantize else "fp32"
    if (
        before
        and before.get("archive") == wanted
        and before.get("half", half) == half
        and _same_local_archive(before, request)
    ):
        _link_tree(model.pretrained, new)
        return {
            key: before[key]
            for key in ("zoo", "archive", "archive_sha256", "half")
            if key in before
        }
    downloads = files.beside(model.pretrained, "download")
    downloads.mkdir(exist_ok=True)
    archive = zoo.fetch_archive(request.zoo_name, request.archive, downloads)
    digest = files.sha256(archive)
    zoo.unpack_archive(archive, new, request.quantize)
    if not (new / "zoo-pipeline.config").exists() and not request.config:
        raise TodusError(
            "%s holds no pipeline.config; give one with --config FILE (the OD API's samples have one a model)"
            % wanted
        )
    shutil.rmtree(str(downloads))
    return {"zoo": request.zoo_name, "archive": wanted, "archive_sha256": digest, "half": half}


def _archive_name(request: Request) -> str:
    if request.archive and "://" not in request.archive:
        return str(Path(request.archive).expanduser().resolve())
    return request.archive or zoo.archive_url(request.zoo_name)


def _same_local_archive(before: Dict, request: Request) -> bool:
    """A local archive may have changed under its name; one on the network has its date in its name."""
    if not request.archive or "://" in request.archive:
        return True
    path = Path(request.archive).expanduser()
    return path.is_file() and files.sha256(path) == before.get("archive_sha256")


# What an earlier preparation made, as against what the archive brought.
_MADE_HERE = {"pipeline.config", "limited", "source.json", "given-pipeline.config"}


def _link_tree(source: Path, target: Path) -> None:
    """The zoo's files once more without their bytes; hand-edited configs come along."""
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
    zoo_names = (
        categories.read_label_map(request.label_map)
        if request.label_map
        else zoo.label_map_of(request.zoo_name, new)
    )
    names = wanted_names(request, zoo_names)
    variables = checkpoint_values.read_checkpoint(new / "model.ckpt")
    sliced, start = _start(request, variables, zoo_config, classes, zoo_names, names)
    (new / "limited").mkdir()
    start_checkpoint = (
        new
        / "limited"
        / (model.limited_checkpoint if start == "slice" else model.features_checkpoint).name
    )
    if start != "classification":
        checkpoint_values.write_checkpoint(start_checkpoint, sliced.variables)
    categories.write_label_map(new / "limited" / "label_map.pbtxt", names)
    categories.write_label_map(new / "label_map.pbtxt", zoo_names)
    config = pipeline.Config()
    config.CopyFrom(zoo_config)
    cost = _patch(config, model, request, names, start, bool(sliced.fresh), variables, notes)
    text = pipeline.to_text(config)
    files.write_text(new / "pipeline.config", text)
    source.update(
        todus=__version__,
        command=request.command,
        categories=[{"id": identity, "name": name} for identity, name in sorted(names.items())],
        dataset=request.dataset.name if request.dataset else None,
        fresh=sliced.fresh,
        start=start,
        pipeline_sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
        cost={"parameters": cost.parameters, "activations": cost.activations} if cost else None,
    )
    files.write_json(new / "source.json", source)
    made = Prepared(sliced, config, zoo_config, zoo_names, names, start, notes=notes)
    made.bytes_before, made.bytes_after = _size(new / "model.ckpt"), _size(start_checkpoint)
    return made


def _size(prefix: Path) -> int:
    return sum(path.stat().st_size for path in prefix.parent.glob(prefix.name + ".data-*"))


def _base_config(request: Request, new: Path, notes: List[str]) -> Tuple[pipeline.Config, int]:
    """The config to start from, and how many classes the archive's checkpoint has."""
    own = new / "zoo-pipeline.config"
    if not request.config:
        config = pipeline.read(own, notes.append)
        return config, pipeline.meta(config).num_classes
    config = pipeline.read(request.config, notes.append)
    (new / "given-pipeline.config").write_bytes(Path(request.config).read_bytes())
    if own.exists():
        return config, pipeline.meta(pipeline.read(own)).num_classes
    return config, pipeline.meta(config).num_classes


def _start(
    request: Request, variables, zoo_config, classes: int, zoo_names, names
) -> Tuple[class_slice.Slice, str]:
    """The limited checkpoint's variables, and what kind of a start they are."""
    if class_slice.is_classification(variables):
        return class_slice.without_classes(variables, zoo_config), "classification"
    if not request.limit:
        return class_slice.without_classes(variables, zoo_config), "features"
    config = pipeline.Config()
    config.CopyFrom(zoo_config)
    pipeline.meta(config).num_classes = classes
    return class_slice.slice_variables(variables, config, zoo_names, names), "slice"


def wanted_names(request: Request, zoo_names: Mapping[int, str]) -> Dict[int, str]:
    """The label map of the limited model: the dataset's, or ids 1..N for chosen classes of the zoo model."""
    if request.dataset:
        return categories.read_label_map(request.dataset.label_map)
    if request.categories == "all":
        return dict(zoo_names)
    return categories.renumbered(
        categories.choose(request.categories or "", zoo_names, "the model's classes")
    )


def _patch(
    config: pipeline.Config,
    model: Model,
    request: Request,
    names,
    start: str,
    fresh: bool,
    variables,
    notes: List[str],
) -> Optional[resources.Costs]:
    """Makes the zoo's config the limited model's; returns what training it takes, where there is something to train on."""
    pipeline.meta(config).num_classes = max(names)
    pipeline.set_mask_depth(config, class_columns.mask_depth(config, variables))
    if start == "classification":
        pipeline.set_classification_start(config, model.zoo_checkpoint)
    else:
        pipeline.set_fine_tuning(
            config, model.limited_checkpoint if start == "slice" else model.features_checkpoint
        )
    pipeline.set_override_hyperparams(config)
    pipeline.set_one_replica(config)
    pipeline.drop_step_zero(config)
    if request.dataset:
        prepared.set_dataset(config, request.dataset)
    else:
        pipeline.set_inputs(config, model.limited_label_map, {}, 0)
    if request.quantize and not pipeline.is_quantized(config):
        pipeline.set_quantization(config, 0)
    if start == "slice" and not fresh:
        _protect_trained_weights(config, request, notes)
    pipeline_options.apply(config, request.options, notes.append)
    if pipeline.is_quantized(config) and request.options.quantization_delay is None:
        ranges = start == "slice" and checkpoint_values.has_ranges(list(variables))
        pipeline.set_quantization(
            config, 0 if ranges else max(1, config.train_config.num_steps // 10)
        )
    if request.dataset or request.batch_auto:
        return _fit_batch(config, request.batch_auto, notes)
    return None


def _protect_trained_weights(config: pipeline.Config, request: Request, notes: List[str]) -> None:
    """Training settings for weights that are trained already, where the zoo's are for a start from a classifier.

    Batch statistics of a few images would soon replace the zoo's of a large batch. A quantization-aware graph folds its batch normalisation
    and needs it in training form: there the averages move slowly.
    """
    if request.options.learning_rate is None:
        pipeline.scale_learning_rates(config, FINE_TUNING)
        notes.append(
            "the weights are trained already: the learning rate is %g of the zoo's; --learning-rate sets another"
            % FINE_TUNING
        )
    for batch_norm in pipeline.batch_norms(config.model):
        if pipeline.is_quantized(config):
            batch_norm.decay = max(batch_norm.decay, SLOW_DECAY)
        else:
            batch_norm.train = False


def _fit_batch(config: pipeline.Config, auto: bool, notes: List[str]) -> resources.Costs:
    """Chooses the batch size for the memory there is, or warns of one that is too large for it."""
    cost = resources.costs(config)
    if auto:
        name, free = memory.training_device()
        batch = min(
            resources.largest_batch(cost, int(resources.SHARE * free), 512),
            config.train_config.batch_size,
        )
        pipeline.set_batch_size(config, batch)
        notes.append("batch size %d, for %.1f GB free on %s" % (batch, free / 1e9, name))
    doubt = resources.memory_doubt(cost, config.train_config.batch_size, "--batch-size ")
    notes += [doubt] if doubt else []
    return cost
