"""config/: the models that convert, and the scopes of their graphs that pipeline.config lacks."""

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
      image: all that is between image_tensor and the feature extractor.
      anchors: where the joined anchors may be, in the order to look.
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
    """The longest name in config/ with which a zoo model's name starts; None where none does."""
    return max((each for each in names() if name.startswith(each)), key=len, default=None)


def load(name: str) -> Scopes:
    """The scopes of a zoo model, from config/. Raises UsageError where no file is for it."""
    found = find(name)
    if found is None:
        what = "%s does not convert to UFF; config/ has %s; for other models run ./convert-onnx.sh"
        raise UsageError(what % (name, ", ".join(names())))
    path = CONFIG / (found + ".py")
    module_name = "todus_config_" + re.sub(r"\W", "_", found)
    spec = importlib.util.spec_from_file_location(module_name, str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        image = ("image_tensor", "Preprocessor") + tuple(module.TO_FLOAT)
        optional = [key for key in ("BOXES", "CLASSES", "DETECTIONS") if hasattr(module, key)]
        others = {key.lower(): getattr(module, key) for key in optional}
        return Scopes(image=image, anchors=tuple(module.ANCHORS), **others)
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        what = "%s is not a UFF config (%s); its format is in docs/tensorrt.md"
        raise TodusError(what % (path, error))
