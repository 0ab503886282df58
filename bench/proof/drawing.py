"""The pictures of the proof: a scene with the detections of both models, and a chart."""

import io
from pathlib import Path
from typing import Any, Dict

import numpy as np

from bench.proof.models import Compared
from demo import shapes
from todus import files
from todus.dataset.image_files import decode
from todus.detection import catalogue, drawing, media

THRESHOLD = 0.5
SCENE_SIZE = (400, 300)
CAPTION = 30  # pixels
ALL, KEPT = "#9aa3ad", "#137a4b"


def scene(compared: Compared, number: int, folder: Path) -> None:
    """Writes scene.png: the drawn image of this number, not one of the evaluated ones."""
    drawn = list(shapes.drawn("train2017", number + 1, SCENE_SIZE))[number]
    _save(_side_by_side(compared, decode(drawn.jpeg)), folder / "scene.png", folder)


def photo(compared: Compared, path: Path, target: Path) -> None:
    """Writes the photo with the detections of both models."""
    picture = _side_by_side(compared, drawing_input(path))
    with files.replacing(target) as part:
        picture.save(str(part), "PNG")


def drawing_input(path: Path) -> np.ndarray:
    """A photo of at most 800 pixels."""
    from PIL import Image

    return np.asarray(drawing.thumbnail(Image.fromarray(media.read_image(path)), 800))


def _side_by_side(compared: Compared, image: np.ndarray):
    """The image twice: with the detections of all classes, and with those of the limited model."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    pictures, ids = [], {}
    for model, words in zip(compared.pairs[0], ("The zoo model", "The same, limited to %s")):
        detector = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
        ids = ids or {name: each for each, name in detector.names.items()}
        found = detector.detect([image])[0]
        # The ids of all classes: a class has one colour in both.
        classes = np.array([ids[detector.names[int(each)]] for each in found.classes], int)
        names = {ids[name]: name for name in detector.names.values()}
        drawn = drawing.draw(image, found._replace(classes=classes), names, THRESHOLD)
        pictures.append((drawn, words.replace("%s", ", ".join(names.values()))))
    width, height = pictures[0][0].size
    sheet = Image.new("RGB", (2 * width + 10, height + CAPTION), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (drawn, words) in enumerate(pictures):
        left = place * (width + 10)
        sheet.paste(drawn, (left, CAPTION))
        pen.text((left, 6), words, fill="#202020", font=font)
    return sheet


def chart(found: Dict[str, Any], folder: Path) -> None:
    """Writes chart.png: bars of AP, milliseconds and megabytes of each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    rows = found["rows"]
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 0.55 + 0.62 * len(rows)), sharey=True)
    places = np.arange(len(rows))
    panels = (("ap", "AP", "%.3f"), ("ms_processor", "ms an image", "%.1f"), ("mb", "MB", "%.1f"))
    for axis, (key, title, form) in zip(axes, panels):
        most = max(row["whole"][key] for row in rows) or 1
        for side, shift, color in (("whole", -0.19, ALL), ("limited", 0.19, KEPT)):
            values = [row[side][key] for row in rows]
            axis.barh(places + shift, values, 0.36, color=color)
            for place, value in zip(places, values):
                axis.text(value + 0.02 * most, place + shift, form % value, va="center", fontsize=9)
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_xlim(0, 1.28 * most)
        axis.set_xticks([])
        for spine in ("top", "right", "bottom"):
            axis.spines[spine].set_visible(False)
        axis.tick_params(left=False)
    axes[0].set_yticks(places)
    axes[0].set_yticklabels(["%s\n%s" % (row["form"], row["runtime"]) for row in rows], fontsize=9)
    axes[0].invert_yaxis()
    _legend(figure, rows[0])
    encoded = io.BytesIO()
    figure.savefig(encoded, dpi=110, format="png")
    pyplot.close(figure)
    _save(Image.open(encoded), folder / "chart.png", folder)


def _legend(figure, row: Dict[str, Any]) -> None:
    from matplotlib.patches import Patch

    sides = (("whole", ALL, "%d classes"), ("limited", KEPT, "%d classes, no training"))
    handles = [
        Patch(color=color, label=words % row[side]["classes"]) for side, color, words in sides
    ]
    figure.legend(handles=handles, loc="lower center", ncol=2, frameon=False, fontsize=10)
    figure.tight_layout(rect=(0, 0.5 / figure.get_size_inches()[1], 1, 1))


def _save(picture, target: Path, folder: Path) -> None:
    """Writes a PNG of 256 colours that holds the digest of the results it belongs to."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("results", files.sha256(folder / "results.json"))
    small = picture.convert("RGB").quantize(256, method=Image.MEDIANCUT, dither=Image.NONE)
    with files.replacing(target) as part:
        small.save(str(part), "PNG", optimize=True, pnginfo=about)
