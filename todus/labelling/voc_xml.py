"""Pascal VOC XML as LabelImg writes it, with the score of each box and whether it is doubtful.

LabelImg drops both when a person saves the file: what then is there has been looked at.
"""

from typing import NamedTuple, Sequence, Tuple
from xml.sax.saxutils import escape

DOUBTFUL = "doubtful"  # the tag of a box that todus.dataset.sources.voc does not take for an object


class Label(NamedTuple):
    """A box in whole pixels, with its class's name."""

    name: str
    score: float
    doubtful: bool
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def text(folder: str, filename: str, size: Tuple[int, int], labels: Sequence[Label]) -> str:
    """The annotation of an image; `size` is its width and height in pixels."""
    lines = ["<annotation>", *_elements(1, folder=folder, filename=filename)]
    lines += ["\t<source>", *_elements(2, database="Unknown"), "\t</source>", "\t<size>"]
    lines += [*_elements(2, width=size[0], height=size[1], depth=3), "\t</size>"]
    lines += _elements(1, segmented=0)
    for label in labels:
        lines += ["\t<object>", *_elements(2, name=label.name, pose="Unspecified")]
        lines += _elements(2, truncated=0, difficult=0, score="%.3f" % label.score)
        lines += _elements(2, **{DOUBTFUL: 1}) if label.doubtful else []
        corners = zip(("xmin", "ymin", "xmax", "ymax"), label[3:])
        lines += ["\t\t<bndbox>", *_elements(3, **dict(corners)), "\t\t</bndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>", ""])


def _elements(tabs: int, **content: object) -> Sequence[str]:
    form = "\t" * tabs + "<%s>%s</%s>"
    return [form % (tag, escape(str(value)), tag) for tag, value in content.items()]
