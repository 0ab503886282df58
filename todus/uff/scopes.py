"""config/: which models convert, and the names of scopes in their graphs that pipeline.config does not tell."""

import importlib.util
import re
from dataclasses import dataclass
from typing import List, Optional, Tuple

from todus import paths
from todus.errors import TodusError, UsageError

CONFIG = paths.REPO / "config"


@dataclass(frozen=True)
class Scopes:
    """Name scopes of a frozen SSD graph.

    Attributes:
      image: hold everything between image_tensor and the feature extractor.
      anchors: where the joined anchors may be, the likeliest first.
      boxes, classes: the two concats over the feature maps.
      detections: box decoding and non-maximum suppression.
    """

    image: Tuple[str, ...]
    anchors: Tuple[str, ...]
    boxes: str = "concat"
    classes: str = "concat_1"
    detections: str = "Postprocessor"


def names() -> List[str]:
    """The models that convert."""
    return sorted(path.name[: -len(".py")] for path in CONFIG.glob("*.py"))


def find(name: str) -> Optional[str]:
    """The longest name in config/ that begins `name`, a zoo model's; None where there is none."""
    begins = [each for each in names() if name.startswith(each)]
    return max(begins, key=len) if begins else None


def load(name: str) -> Scopes:
    """The scopes in config/NAME.py. Raises UsageError with the list where no file counts for `name`."""
    found = find(name)
    if found is None:
        raise UsageError(
            "%s does not convert to UFF; config/ has %s; for other models run ./convert-onnx.sh"
            % (name, ", ".join(names()))
        )
    path = CONFIG / (found + ".py")
    spec = importlib.util.spec_from_file_location(
        "todus_config_" + re.sub(r"\W", "_", found), str(path)
    )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return Scopes(
            image=("image_tensor", "Preprocessor") + tuple(module.TO_FLOAT),
            anchors=tuple(module.ANCHORS),
            **{
                key.lower(): getattr(module, key)
                for key in ("BOXES", "CLASSES", "DETECTIONS")
                if hasattr(module, key)
            },
        )
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        raise TodusError(
            "%s is not a UFF config (%s); docs/tensorrt.md tells what one holds" % (path, error)
        )
