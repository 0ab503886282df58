"""An HTML page of a dataset's counts and its contact sheet, without network access."""

from html import escape
from typing import Dict, Iterator, List, Mapping, NamedTuple, Tuple

from todus.dataset.annotations import Image
from todus.dataset.box_sizes import LEAST_PIXELS, SIZES, ClassCounts

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #202020; background: #fff;
  margin: 2rem auto; max-width: 1340px; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .5rem 0 } .wide { overflow-x: auto }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
.warn { background: #fff0d8 } img { max-width: 100%; height: auto }
"""


class Statistics(NamedTuple):
    """A dataset's images and boxes at the size of a network's input."""

    title: str
    names: Mapping[int, str]  # category id -> class name
    splits: Mapping[str, List[Image]]
    counts: Mapping[str, Dict[int, ClassCounts]]  # split -> category id -> its boxes
    size: Tuple[int, int]  # width and height of the network's input
    repeats: Mapping[str, int]  # split -> further records of its images

    def more(self, split: str) -> str:
        """What the number of a split's images leaves open."""
        empty = sum(not image.boxes for image in self.splits[split])
        text = ", %d without a box" % empty if empty else ""
        more = self.repeats.get(split, 0)
        return text + (", %d further records for BALANCE or WEIGHTS" % more if more else "")


def html(found: Statistics, sheet: str) -> str:
    """The page's text. `sheet` is the file name of the contact sheet."""
    title, sheet = escape(found.title), escape(sheet)
    counts = "\n".join(line for split in found.splits for line in _split(found, split))
    return """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>%s</title><style>%s</style></head>
<body>
<h1>%s</h1>
<p>Sizes are in pixels of the network's input, %d x %d, to which every image is resized.</p>
%s
<h2>Images</h2><p><a href="%s"><img src="%s" alt="Images with their boxes"></a></p>
</body></html>
""" % (title, STYLE, title, found.size[0], found.size[1], counts, sheet, sheet)


def _cell(value: object, warns: object = False) -> str:
    return "<td%s>%s</td>" % (' class="warn"' if warns else "", value)


def _split(page: Statistics, split: str) -> Iterator[str]:
    counts, boxes = page.counts[split], sum(each.boxes for each in page.counts[split].values())
    total = (escape(split), len(page.splits[split]), page.more(split), boxes)
    yield "<h2>%s: %d images%s; %d boxes</h2>" % total
    heads = ["class", "images", "boxes", "crowds", "median box"]
    heads += ["%s px" % label for _, label in SIZES]
    yield '<div class="wide"><table><tr>%s</tr>' % "".join("<th>%s</th>" % head for head in heads)
    for identity, name in page.names.items():
        found = counts.get(identity, ClassCounts())
        tiny, *larger = found.histogram()
        cells = [_cell(escape(name), not found.boxes)]
        cells += map(_cell, (found.images, found.boxes, found.crowds, found.typical()))
        cells += [_cell(tiny, found.tiny)] + [_cell(number) for number in larger]
        yield "<tr>%s</tr>" % "".join(cells)
    yield "</table></div>"
    tiny = sum(found.tiny for found in counts.values())
    if tiny:
        yield (
            '<p><span class="warn">%d boxes are under %d pixels</span> at this input: '
            "use a larger one, or leave them out.</p>" % (tiny, LEAST_PIXELS)
        )
