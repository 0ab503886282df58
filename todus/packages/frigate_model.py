"""The folder model/NAME/frigate of a model under model/: its classes, files and scores."""

import re
from pathlib import Path
from typing import Dict, Optional

from todus import files, forms
from todus.errors import UsageError
from todus.evaluation import score_thresholds
from todus.model import artefacts, checkpoint_values, checkpoints, pipeline, prepare, zoo
from todus.paths import Model, beside_json

_HAS_UINT8 = re.compile("mobiledet_(edgetpu|dsp)")  # zoo archives with fp32/ and uint8/


def check_zoo_name(name: str) -> None:
    """Raises UsageError for a zoo model that Frigate's detectors cannot run."""
    entry = zoo.find(name)
    if entry and not entry.kind.startswith("ssd"):
        _refuse(name)


def check(model: Model) -> None:
    """Raises UsageError for a model that Frigate's detectors cannot run."""
    if pipeline.architecture(pipeline.read(model.check().pipeline)) != "ssd":
        _refuse(model.name)


def _refuse(name: str) -> None:
    what = "%s is no SSD, and Frigate's detectors, the EdgeTPU's too, run only SSDs of this zoo; "
    raise UsageError(what % name + "python -m model --list prints them")


def limit(model: Model, zoo_name: str, wanted: str) -> prepare.Prepared:
    """Prepares `model`, a zoo model, for classes as in CATEGORIES.

    An archive with a quantization-aware checkpoint beside the float one gives that.

    Raises:
      TodusError: an unknown class or model, one that is no SSD, or one that has been trained.
    """
    check_zoo_name(zoo_name)
    if model.pipeline.exists() and checkpoints.latest(model):
        what = (
            "%s is trained; make frigate MODEL=%s without CATEGORIES takes its export, and AS=DIR "
        )
        raise UsageError(what % ((model.folder, model.name)) + "limits the zoo's model in another")
    for quantize in (True, False) if _HAS_UINT8.search(zoo_name) else (False,):
        words = ["-m", zoo_name, "--categories", wanted, "--as", model.name] + ["-q"] * quantize
        request = prepare.Request(zoo_name, categories=wanted, quantize=quantize, command=words)
        made = prepare.prepare(model, request)
        names = checkpoint_values.variable_names(model.limited_checkpoint) or []
        if not quantize or checkpoint_values.has_ranges(names):
            break
    return made


def up_to_date(model: Model, form: str) -> Optional[Path]:
    """The file of a form with uint8 input, where it was converted from the present graph."""
    row = forms.find(form)
    path = row.path(model.folder)
    if not path.exists() or artefacts.is_outdated(model, row):
        return None
    about = artefacts.read(path)
    is_whole = about.get("sha256") == files.sha256(path)
    return path if is_whole and about.get("input", {}).get("dtype") == "uint8" else None


def compiled(file: Path) -> Optional[Path]:
    """What edgetpu_compiler made of a TFLite file; None where it was not there."""
    name = (artefacts.read(file).get("edgetpu_compiler") or {}).get("file")
    return file.with_name(name) if name and file.with_name(name).exists() else None


def thresholds(model: Model, file: Path) -> Dict[str, float]:
    """Class name -> the score that eval picked for a file, else for another form of the model."""
    others = [form.path(model.folder) for form in forms.runnable() if form.made_from]
    for each in [file] + others:
        if beside_json(each).exists() and score_thresholds.stored(each):
            return score_thresholds.stored(each)
    return {}
