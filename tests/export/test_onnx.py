"""ONNX files are checked, and the TensorRT one decodes as the TFLite graph does."""

import numpy as np
import pytest

from tests.helpers.places import MODEL
from todus import files, paths
from todus.dataset import image_files
from todus.detection.resizer import Resizer
from todus.errors import TodusError, UsageError
from todus.evaluation import average_precision
from todus.export import onnx
from todus.model import pipeline
from todus.paths import beside_json


def load(path):
    import onnx as library

    loaded = library.load(str(path))
    library.checker.check_model(loaded)
    return loaded


def test_the_file_is_what_its_json_says(exported):
    path = paths.model(MODEL).file_of("onnx")
    loaded, described = load(path), files.read_json(beside_json(path))
    assert [each.version for each in loaded.opset_import if not each.domain] == [11]
    assert (
        described["labels"] == ["circle", "four point star"]
        and "counts from 1" in described["labels_note"]
    )
    assert [each.name for each in loaded.graph.output] == described["outputs"]


def test_the_tensorrt_file_ends_in_efficient_nms_and_has_no_loops(exported):
    loaded = load(paths.model(MODEL).file_of("onnx-tensorrt"))
    kinds = [node.op_type for node in loaded.graph.node]
    assert kinds[-1] == "EfficientNMS_TRT" and kinds.count("EfficientNMS_TRT") == 1
    assert not {"Loop", "Scan", "If", "NonMaxSuppression"} & set(kinds)
    attributes = {each.name: each for each in loaded.graph.node[-1].attribute}
    config = pipeline.read(paths.model(MODEL).exported_pipeline)
    assert attributes["score_threshold"].f == pytest.approx(
        pipeline.non_max_suppression(config).score_threshold
    )
    assert (
        attributes["max_output_boxes"].i,
        attributes["background_class"].i,
        attributes["box_coding"].i,
    ) == (100, -1, 0)
    assert [each.name for each in loaded.graph.output] == [
        "num_dets",
        "det_boxes",
        "det_scores",
        "det_classes",
    ]


def test_what_goes_into_the_plugin_holds_the_graphs_best_detection(exported, tmp_path):
    """The plugin itself runs in TensorRT alone; the boxes and scores before it are the frozen graph's."""
    import onnx as library
    import onnxruntime

    from todus.detection import catalogue

    model = paths.model(MODEL)
    cut = str(tmp_path / "cut.onnx")
    loaded = load(model.file_of("onnx-tensorrt"))
    del loaded.graph.node[-1]
    del loaded.graph.output[:]
    for name in ("decode/boxes", "decode/scores"):
        loaded.graph.output.append(
            library.helper.make_tensor_value_info(name, library.TensorProto.FLOAT, None)
        )
    library.save(loaded, cut)
    session = onnxruntime.InferenceSession(cut, providers=["CPUExecutionProvider"])
    graph = catalogue.open_form(model, catalogue.find(model, "frozen_graph"))
    compared = 0
    for example in average_precision.examples_of(paths.dataset("limited"), "val", 8):
        image = image_files.decode(example.encoded)
        size = pipeline.input_size(pipeline.read(model.exported_pipeline))
        pixels = (Resizer(size)(image)[np.newaxis] - 127.5) / np.float32(127.5)
        boxes, scores = session.run(None, {session.get_inputs()[0].name: pixels.astype(np.float32)})
        assert boxes.shape[1:] == (scores.shape[1], 4) and scores.shape[2] == 2
        found = graph.detect([image])[0]
        if len(found.scores):
            place = scores[0, :, found.classes[0] - 1].argmax()
            assert scores[0, place, found.classes[0] - 1] == pytest.approx(
                found.scores[0], abs=1e-4
            )
            np.testing.assert_allclose(np.clip(boxes[0, place], 0, 1), found.boxes[0], atol=1e-4)
            compared += 1
    assert compared >= 4


def test_wrong_settings_are_refused(exported):
    with pytest.raises(UsageError, match="11 or newer"):
        onnx.convert(paths.model(MODEL), opset=9)
    with pytest.raises(UsageError, match="LAYOUT=batched"):
        onnx.convert(paths.model(MODEL), "batched")


def test_without_an_export_the_command_for_it_is_named(prepared):
    model = paths.model(MODEL)
    if model.frozen_graph.exists():
        pytest.skip("another test exported this model")
    with pytest.raises(TodusError, match="export.sh"):
        onnx.convert(model)
