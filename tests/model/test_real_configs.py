"""Every real pipeline.config: an archive of its model with random weights is limited, patched, trained a step and exported.

Minutes long, so it runs with TODUS_SLOW=1 only, and where the real configs are.
"""

import io
import os

import numpy as np
import pytest
from PIL import Image as Picture

from tests.helpers.families import archive
from tests.helpers.places import REAL
from todus import paths
from todus.dataset.annotations import Annotations, Box, Image
from todus.dataset.records import writer
from todus.errors import TodusError
from todus.export import inference_graph
from todus.model import checkpoints, pipeline, pipeline_options, prepare
from todus.training import trainer
from todus.training.settings import Settings

CONFIGS = sorted((REAL / "configs").glob("*.config")) if REAL.exists() else []
pytestmark = pytest.mark.skipif(
    not (CONFIGS and os.environ.get("TODUS_SLOW")),
    reason="TODUS_SLOW=1 and the real configs are needed",
)

SMALL = {
    "fixed": pipeline_options.Options(batch_size=1, image_size=(128, 128)),
    "aspect": pipeline_options.Options(batch_size=1, min_size=96, max_size=160),
}


def write_dataset(folder):
    """Six grey images with a box of each of three COCO classes."""
    images = []
    for number in range(6):
        path = folder / ("%d.jpg" % number)
        data = io.BytesIO()
        Picture.fromarray(np.full((120, 160, 3), 40 * number, np.uint8)).save(data, "JPEG")
        path.write_bytes(data.getvalue())
        boxes = [
            Box(place, 10.0, 20.0 * place, 60.0, 20.0 * place + 30, 1500.0) for place in (1, 2, 3)
        ]
        images.append(Image(number + 1, path.name, 160, 120, boxes, path))
    names = {1: "horse", 2: "bear", 3: "giraffe"}
    splits = {"train": Annotations(names, images[:4]), "val": Annotations(names, images[4:])}
    return writer.write_dataset(
        paths.mscoco_dataset("limited"), writer.Content("coco", splits, names)
    )


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_a_real_config_is_limited_trained_a_step_and_exported(path, home, tmp_path):
    write_dataset(tmp_path)
    said = []
    config = pipeline.read(path, said.append)
    if path.name.startswith("ssd_mobilenet_v2"):
        assert "batch_norm_trainable" in said[0]
    text = path.read_text()
    label_map = "".join(
        "item { id: %d name: '%s' }\n" % pair
        for pair in zip((1, 2, 3), ("horse", "bear", "giraffe"))
    )
    if pipeline.meta(config).num_classes < 3:
        label_map = "item { id: 1 name: 'horse' }"
    model = paths.model("m")
    options = SMALL["fixed" if pipeline.input_size(config) else "aspect"]
    request = prepare.Request(
        zoo_name="m",
        dataset=paths.dataset("limited"),
        archive=str(archive(text, tmp_path / "m.tar.gz", label_map=label_map)),
        options=options,
    )
    made = prepare.prepare(model, request, print)
    assert made.start == "slice" and made.sliced.sliced
    try:
        trainer.train(model, Settings(num_steps=1), print)
    except TodusError as error:
        assert "NaN" in str(error), error  # random weights may overflow; the step has run
    prefix = checkpoints.choose(model)
    assert inference_graph.export(model, prefix).stat().st_size > 100000
