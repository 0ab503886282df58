"""A limited frozen graph gives the detections of its classes unchanged."""

import shutil

import numpy as np
import pytest

from tests.helpers.places import MODEL, QUANTIZED
from todus import paths
from todus.errors import TodusError, UsageError
from todus.slicing import command as slice_command
from todus.slicing import graph_def, proof
from todus.slicing.finished import Cutting
from todus.slicing.labels import Choice
from todus.slicing.saved_model import SavedModel
from todus.slicing.tensorflow import OUTPUTS, FrozenGraph


def run(data, pixels, outputs):
    from todus.tf import tf

    definition, graph = tf.GraphDef(), tf.Graph()
    definition.ParseFromString(data)
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.Session(graph=graph) as session:
        return session.run([name + ":0" for name in outputs], {"image_tensor:0": pixels})


@pytest.mark.parametrize("name", [MODEL, QUANTIZED])
def test_the_detections_of_the_kept_class_stay_the_same(exported, name):
    data = paths.model(name).frozen_graph.read_bytes()
    pixels = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    before = run(data, pixels, OUTPUTS)
    for indices in ([1], [1, 0]):
        finished = FrozenGraph(data)
        assert finished.classes == 2
        made = finished.cut(Cutting([Choice(str(index), index) for index in indices], {}))
        raw = [run(each, pixels, [finished.scores])[0] for each in (data, made)]
        columns = list(range(finished.first)) + [finished.first + index for index in indices]
        np.testing.assert_allclose(raw[1], raw[0][..., columns], atol=1e-6)
        after = run(made, pixels, OUTPUTS)
        # The list of detections is full: without the other class there is room for lower scores,
        # and where both stay, equal scores at its end come in the order of the classes.
        for new, old in enumerate(indices, start=1):
            wanted = before[2][0][before[1][0] == old + 1][:-2]
            found = after[2][0][after[1][0] == new]
            assert len(found) >= len(wanted) > 3
            np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-6)
        assert len(indices) == 2 or len(made) < len(data)


def run_saved_model(folder, pixels):
    """The outputs of a SavedModel's signature, by name, and their shapes there."""
    from todus.tf import tf

    with tf.Session(graph=tf.Graph()) as session:
        signature = tf.saved_model.loader.load(session, ["serve"], str(folder)).signature_def
        outputs = signature["serving_default"].outputs
        names = {key: each.name for key, each in outputs.items()}
        shapes = {key: [dim.size for dim in each.tensor_shape.dim] for key, each in outputs.items()}
        return session.run(names, {"image_tensor:0": pixels}), shapes


def test_a_saved_model_of_constants_is_limited_as_a_folder(limited_home, tmp_path, monkeypatch):
    source = tmp_path / "detector"
    shutil.copytree(str(limited_home / "model" / MODEL / "pretrained/saved_model"), str(source))
    count = SavedModel((source / "saved_model.pb").read_bytes()).classes
    (tmp_path / "labels.txt").write_text("".join("class %d\n" % each for each in range(count)))
    pixels = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    before, _ = run_saved_model(source, pixels)
    monkeypatch.setattr(proof, "python_for", lambda kind: None)  # compared here
    for asked in (str(source), str(source / "saved_model.pb")):
        assert slice_command.main([asked, "class_3,class_1"]) == 0
    made = tmp_path / "detector-limited"
    assert sorted(each.name for each in made.iterdir()) == ["saved_model.pb", "variables"]
    assert (tmp_path / "detector-limited-labels.txt").read_text() == "class 3\nclass 1\n"
    after, shapes = run_saved_model(made, pixels)
    for key in ("raw_detection_scores", "detection_multiclass_scores"):
        assert shapes[key][-1] == after[key].shape[-1] == 3
    raw = before["raw_detection_scores"][..., [0, 4, 2]]
    np.testing.assert_allclose(after["raw_detection_scores"], raw, atol=1e-6)
    for new, old in ((1, 4), (2, 2)):
        wanted = before["detection_scores"][before["detection_classes"] == old][:-2]
        found = after["detection_scores"][after["detection_classes"] == new]
        np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-6)
    with pytest.raises(UsageError, match="other files"):
        slice_command.main([str(source), "class_1", "--output", str(tmp_path)])


def test_a_saved_model_with_variables_is_refused_with_the_file_to_take(exported):
    data = (paths.model(MODEL).inference_graph / "saved_model/saved_model.pb").read_bytes()
    with pytest.raises(TodusError, match="are variables.*limit the frozen_inference_graph.pb"):
        SavedModel(data)


def test_a_faster_rcnn_is_refused_by_name_with_the_command_for_its_checkpoint():
    definition = graph_def.messages()["Graph"]()
    for op in ("Placeholder", "CropAndResize", "Softmax", "NonMaxSuppressionV5"):
        definition.node.add(name=op, op=op)
    with pytest.raises(TodusError, match="a Faster R-CNN.*python -m model -m NAME --categories"):
        FrozenGraph(definition.SerializeToString())


def test_a_graph_without_suppression_by_class_is_refused(exported):
    with pytest.raises(TodusError, match="no non-max suppression"):
        FrozenGraph(paths.model(MODEL).tflite_graph.read_bytes())
    with pytest.raises(TodusError, match="damaged"):
        FrozenGraph(b"\xff" * 100)
