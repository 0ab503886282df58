"""The bytes of exported graphs and TFLite files depend on their content alone."""

import io
import zipfile

from todus.tf import tf

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from todus.detection import frozen_graph
from todus.errors import TodusError
from todus.export import reproducible, tflite_metadata


def graph_with_a_loop():
    with tf.Graph().as_default() as graph:
        start = tf.constant(np.float32([1, 2, 3]))
        tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 2), (tf.constant(0), start))
        meta_graph = tf.train.export_meta_graph(graph=graph, collection_list=["while_context"])
        return meta_graph, graph.as_graph_def()


def write(folder, name):
    """An export whose random parts come from `name`."""
    meta_graph, graph_def = graph_with_a_loop()
    node = meta_graph.graph_def.node.add(name="save/Const", op="Const")
    node.attr["dtype"].type = tf.string.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("_temp_%s/part" % (name * 32)))
    (folder / "saved_model").mkdir(parents=True)
    (folder / "frozen_inference_graph.pb").write_bytes(graph_def.SerializeToString())
    (folder / "model.ckpt.meta").write_bytes(meta_graph.SerializeToString())
    saved_model = saved_model_pb2.SavedModel(meta_graphs=[meta_graph])
    (folder / "saved_model" / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return folder


def test_two_exports_of_one_model_have_the_same_bytes(tmp_path):
    folders = [write(tmp_path / name, name) for name in ("a", "b")]
    before = [frozen_graph.read_graph(folder / "frozen_inference_graph.pb") for folder in folders]
    for folder in folders:
        reproducible.rewrite_graphs(folder)
    for name in ("frozen_inference_graph.pb", "model.ckpt.meta", "saved_model/saved_model.pb"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert frozen_graph.read_graph(folders[0] / "frozen_inference_graph.pb") == before[0]


def test_a_rewritten_graph_keeps_its_loop_and_its_results(tmp_path):
    reproducible.rewrite_graphs(write(tmp_path / "a", "a"))
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.train.import_meta_graph(str(tmp_path / "a" / "model.ckpt.meta"))
        assert len(graph.get_collection("while_context")) == 1
        assert session.run("while/Exit_1:0").tolist() == [8, 16, 24]


def test_labels_packed_at_two_times_have_the_same_bytes():
    def packed(year):
        data = io.BytesIO(b"a flatbuffer")
        data.seek(0, io.SEEK_END)
        with zipfile.ZipFile(data, "a") as archive:
            for name in ("labels.txt", "other.txt"):
                archive.writestr(zipfile.ZipInfo(name, (year, 2, 3, 4, 5, 6)), "cat\n" * 9)
        return data.getvalue()

    assert packed(2020) != packed(2021)
    undated = tflite_metadata.without_time(packed(2020))
    assert undated == tflite_metadata.without_time(packed(2021))
    with zipfile.ZipFile(io.BytesIO(undated)) as archive:
        assert archive.testzip() is None and archive.read("other.txt") == b"cat\n" * 9


def test_a_truncated_graph_is_refused_where_protobuf_reads_a_part(tmp_path):
    data = graph_with_a_loop()[1].SerializeToString()
    refused = 0
    for cut in range(1, len(data), 7):
        (tmp_path / "g.pb").write_bytes(data[cut:])
        try:
            frozen_graph.read_graph(tmp_path / "g.pb")
        except TodusError as error:
            refused += "g.pb" in str(error)
    assert refused > len(data) // 7 * 0.8


def test_missing_graphs_are_not_made(tmp_path):
    reproducible.rewrite_graphs(tmp_path)
    assert not list(tmp_path.iterdir())
