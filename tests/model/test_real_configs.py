"""Every real pipeline.config: its model with random weights is limited, trained a step, exported.

Takes minutes: runs with TODUS_SLOW=1, and where the real configs are.
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

CONFIGS = sorted((REAL / "configs").glob("*.config")) if os.environ.get("TODUS_SLOW") else []
pytestmark = pytest.mark.skipif(not CONFIGS, reason="needs TODUS_SLOW=1 and the real configs")

SMALL = {
    "fixed": pipeline_options.Options(batch_size=1, image_size=(128, 128)),
    "aspect": pipeline_options.Options(batch_size=1, min_size=96, max_size=160),
}
NAMES = {1: "horse", 2: "bear", 3: "giraffe"}


def write_dataset(folder):
    """Six grey images, each with a box of each class of NAMES."""
    images = []
    for number in range(6):
        path = folder / ("%d.jpg" % number)
        data = io.BytesIO()
        Picture.fromarray(np.full((120, 160, 3), 40 * number, np.uint8)).save(data, "JPEG")
        path.write_bytes(data.getvalue())
        boxes = [Box(id, 10.0, 20.0 * id, 60.0, 20.0 * id + 30, 1500.0) for id in NAMES]
        images.append(Image(number + 1, path.name, 160, 120, boxes, path))
    splits = {"train": Annotations(NAMES, images[:4]), "val": Annotations(NAMES, images[4:])}
    content = writer.Content("coco", splits, NAMES)
    return writer.write_dataset(paths.mscoco_dataset("limited"), content)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_a_real_config_is_limited_trained_a_step_and_exported(path, home, tmp_path):
    write_dataset(tmp_path)
    warnings = []
    config = pipeline.read(path, warnings.append)
    if path.name.startswith("ssd_mobilenet_v2"):
        assert "batch_norm_trainable" in warnings[0]
    text = path.read_text()
    label_map = "".join("item { id: %d name: '%s' }\n" % pair for pair in NAMES.items())
    if pipeline.meta(config).num_classes < 3:
        label_map = "item { id: 1 name: 'horse' }"
    model = paths.model("m")
    request = prepare.Request(
        zoo_name="m",
        dataset=paths.dataset("limited"),
        archive=str(archive(text, tmp_path / "m.tar.gz", label_map=label_map)),
        options=SMALL["fixed" if pipeline.input_size(config) else "aspect"],
    )
    made = prepare.prepare(model, request)
    assert made.start == "slice" and made.sliced.sliced
    try:
        trainer.train(model, Settings(num_steps=1), print)
    except TodusError as error:
        assert "NaN" in str(error), error  # random weights may overflow after the step
    prefix = checkpoints.choose(model)
    assert inference_graph.export(model, prefix).stat().st_size > 100000
