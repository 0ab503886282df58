"""The written file: its wire format, what NVIDIA's converter would have written, netron's reader, the same bytes every time."""

import collections
import importlib.util
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import uff_models
from todus import paths
from todus.uff import convert, nvidia, probe, schema_pb2, scopes, settings, surgery, writer
from todus.uff import graphs as graphs_of

NAME = "ssd_mobilenet_v2_coco_2018_03_29"
INCEPTION = "ssd_inception_v2_coco_2018_01_28"
from tests.helpers.places import REPO


def make(name=NAME, size=300, text=True, **changes):
    """Converts a model of three classes and returns (its paths, what was said)."""
    config = uff_models.pipeline_text(name, 3, size, **changes)
    model = uff_models.lay_out(name, config, uff_models.frozen(config), uff_models.classes(3))
    said = []
    convert.run(model, False, text, said.append)
    return model, said


def meta_of(model):
    return writer.from_bytes(model.file_of("uff").read_bytes())


def nodes_of(model):
    return {node.id: node for node in meta_of(model).graphs[0].nodes}


def fields_of(node):
    """name -> value of a node's fields; lists as lists."""
    result = {}
    for name, value in node.fields.items():
        kind = value.WhichOneof("data_oneof")
        result[name] = (
            list(getattr(value, kind).val) if kind.endswith("_list") else getattr(value, kind)
        )
    return result


# The published numbers of the format: message -> field -> number.
NUMBERS = {
    "MetaGraph": {
        "version": 1,
        "descriptor_core_version": 2,
        "descriptors": 3,
        "graphs": 4,
        "referenced_data": 5,
        "extra_fields": 100,
    },
    "Descriptor": {"id": 1, "version": 2, "optional": 3},
    "Graph": {"id": 1, "nodes": 2, "extra_fields": 100},
    "Node": {"id": 1, "inputs": 2, "operation": 3, "fields": 4, "extra_fields": 100},
    "Data": {
        "s": 1,
        "s_list": 2,
        "d": 3,
        "d_list": 4,
        "b": 5,
        "b_list": 6,
        "i": 7,
        "i_list": 8,
        "blob": 9,
        "ref": 100,
        "dtype": 101,
        "dtype_list": 102,
        "dim_orders": 103,
        "dim_orders_list": 104,
    },  # fmt: skip
    "DimensionOrders": {"orders": 1},
    "ListDimensionOrders": {"val": 1},
}


def test_the_schema_has_the_formats_numbers():
    for message, fields in NUMBERS.items():
        found = getattr(schema_pb2, message).DESCRIPTOR.fields_by_name
        assert {name: field.number for name, field in found.items()} == fields
    assert (schema_pb2.DT_FLOAT32, schema_pb2.DT_INT32) == (131104, 65568)


def test_the_frame_is_what_nvidias_converter_writes(home):
    meta = meta_of(make()[0])
    assert (meta.version, meta.descriptor_core_version) == (1, 1)
    descriptors = [(each.id, each.version, each.optional) for each in meta.descriptors]
    assert descriptors == [("tensorflow_extension", 1, False), ("custom", 1, False)]
    assert [graph.id for graph in meta.graphs] == ["main"]
    nodes = meta.graphs[0].nodes
    assert (nodes[0].id, nodes[-1].id, nodes[-1].operation, list(nodes[-1].inputs)) == (
        "NMS",
        "MarkOutput_0",
        "MarkOutput",
        ["NMS"],
    )
    # The work list is popped from its end: the last input of NMS is written next.
    assert nodes[1].id == nodes[0].inputs[-1]


def test_plugins_have_the_numbers_of_the_pipeline(home):
    nodes = nodes_of(make()[0])
    assert fields_of(nodes["Input"]) == {"dtype": schema_pb2.DT_FLOAT32, "shape": [1, 3, 300, 300]}
    anchors = fields_of(nodes["GridAnchor"])
    assert (
        anchors["featureMapShapes_u_ilist"] == [19, 10, 5, 3, 2, 1]
        and anchors["numLayers_u_int"] == 6
    )
    np.testing.assert_allclose(anchors["aspectRatios_u_flist"], [1, 2, 0.5, 3, 0.3333], rtol=1e-6)
    np.testing.assert_allclose(anchors["variance_u_flist"], [0.1, 0.1, 0.2, 0.2], rtol=1e-6)
    assert (anchors["minSize_u_float"], anchors["maxSize_u_float"]) == (
        np.float32(0.2),
        np.float32(0.95),
    )
    assert list(nodes["GridAnchor"].inputs) == ["AnchorInput"]
    assert (nodes["concat_priorbox"].operation, fields_of(nodes["concat_priorbox"])) == (
        "Concat",
        {"axis": 2},
    )
    expected = {"axis_u_int": 1, "ignoreBatch_u_int": 0, "dtype": schema_pb2.DT_FLOAT32}
    assert fields_of(nodes["concat_box_loc"]) == fields_of(nodes["concat_box_conf"]) == expected
    assert list(nodes["concat_box_loc"].inputs) == [
        "BoxPredictor_%d/Reshape" % layer for layer in range(6)
    ]
    assert list(nodes["concat_box_conf"].inputs) == [
        "BoxPredictor_%d/Reshape_1" % layer for layer in range(6)
    ]
    nms, number = fields_of(nodes["NMS"]), 19 * 19 * 3 + (100 + 25 + 9 + 4 + 1) * 6
    assert {name: value for name, value in nms.items() if name.endswith("_int")} == {
        "shareLocation_u_int": 1, "varianceEncodedInTarget_u_int": 0, "backgroundLabelId_u_int": 0, "topK_u_int": number,
        "keepTopK_u_int": 100, "numClasses_u_int": 4, "confSigmoid_u_int": 1, "isNormalized_u_int": 1}  # fmt: skip
    assert (nms["confidenceThreshold_u_float"], nms["nmsThreshold_u_float"]) == (
        np.float32(0.3),
        np.float32(0.6),
    )


def test_input_order_follows_the_graphs_edges(home):
    nms = nodes_of(make()[0])["NMS"]
    kinds = [
        list(nms.inputs).index(name)
        for name in ("concat_box_loc", "concat_box_conf", "concat_priorbox")
    ]
    assert fields_of(nms)["inputOrder_u_ilist"] == kinds == [0, 2, 1]
    config = uff_models.pipeline_text(NAME, 3, 300)
    changed = type(uff_models.frozen(config))()
    changed.CopyFrom(uff_models.frozen(config))
    scores = next(node for node in changed.node if node.name == "Postprocessor/scale_logits")
    moved = type(scores)()
    moved.CopyFrom(scores)
    changed.node.remove(scores)
    rest = list(changed.node)
    del changed.node[:]
    changed.node.extend([moved] + rest)
    model = uff_models.lay_out(NAME, config, changed, uff_models.classes(3))
    convert.run(model, False, False, lambda line: None)
    nms = nodes_of(model)["NMS"]
    assert list(nms.inputs) == ["concat_box_conf", "concat_box_loc", "concat_priorbox"]
    assert fields_of(nms)["inputOrder_u_ilist"] == [1, 0, 2]


def test_layouts_are_said_in_orders(home):
    meta = meta_of(make()[0])
    big = schema_pb2.OE_INCREMENT
    orders = {
        key: [list(each.orders[schema_pb2.OE_SPECIAL].val) for each in value.dim_orders_list.val]
        for key, value in meta.referenced_data.items()
        if key.startswith("orders_")
    }
    assert orders == {
        "orders_N+C_+CK": [[0, 2, big, 1], [2, big, 1, 0]],
        "orders_N+C": [[0, 2, big, 1]],
    }


def test_depthwise_weights_and_scalars_keep_their_shape(home):
    model = make(INCEPTION)[0]
    nodes, meta = nodes_of(model), meta_of(model)
    grouped = [
        node
        for node in nodes.values()
        if node.operation == "Conv" and "number_groups" in node.fields
    ]
    assert [fields_of(node)["number_groups"] for node in grouped] == [3]
    weights = fields_of(nodes[grouped[0].inputs[1]])
    assert (
        weights["shape"] == [7, 7, 3, 8] and weights["values"] == "weights_" + grouped[0].inputs[1]
    )
    assert len(meta.referenced_data[weights["values"]].blob) == 7 * 7 * 3 * 8 * 4
    scalar = nodes["BoxPredictor_0/Reshape/shape/1"]
    assert (
        scalar.fields["shape"].WhichOneof("data_oneof") == "i_list"
        and fields_of(scalar)["shape"] == []
    )


@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "ssd_mobilenet_v1_coco_2018_01_28",
            {"Const": 265, "Conv": 47, "BatchNorm": 35, "Activation": 35, "Binary": 12},
        ),
        (NAME, {"Const": 390, "Conv": 72, "BatchNorm": 60, "Activation": 43, "Binary": 22}),
        (
            INCEPTION,
            {
                "Const": 476,
                "Conv": 90,
                "BatchNorm": 77,
                "Activation": 77,
                "Binary": 12,
                "Pool": 12,
                "Concat": 11,
            },
        ),
    ],
)
def test_the_ops_are_those_of_nvidias_converter(home, name, expected):
    # What NVIDIA's converter 0.6.3 gives for exports of these models (v2 without depthwise extra layers), and the constant for GridAnchor.
    nodes = nodes_of(make(name, **({"features": ""} if name == NAME else {}))[0]).values()
    found = collections.Counter(node.operation for node in nodes)
    common = {
        "Reshape": 12,
        "Stack": 12,
        "StridedSlice": 12,
        "Shape": 12,
        "Concat": 1,
        "Input": 1,
        "MarkOutput": 1,
    }
    plugins = {"_GridAnchor_TRT": 1, "_FlattenConcat_TRT": 2, "_NMS_TRT": 1}
    assert found == {**common, **plugins, **expected, "Const": expected["Const"] + 1}


def test_every_input_is_a_node_and_every_constant_is_used(home):
    nodes = nodes_of(make(INCEPTION)[0])
    used = {edge for node in nodes.values() for edge in node.inputs}
    assert used - set(nodes) == set()
    assert set(nodes) - used == {"MarkOutput_0"}


def test_the_bytes_are_the_same_every_time(home, tmp_path):
    model = make()[0]
    first = [
        model.file_of("uff").with_suffix("." + each).read_bytes() for each in ("uff", "pbtxt")
    ] + [paths.beside_json(model.file_of("uff")).read_bytes()]
    # In another process, with another order of hashing.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from todus.commands import convert_uff as c; "
    )
    code += "sys.exit(c.main(['-m', sys.argv[2], '-t']))"
    subprocess.run(
        [sys.executable, "-c", code, str(REPO), NAME],
        check=True, env={"PYTHONHASHSEED": "77", "TODUS_HOME": str(home), "PATH": "/usr/bin:/bin"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    again = [
        model.file_of("uff").with_suffix("." + each).read_bytes() for each in ("uff", "pbtxt")
    ] + [paths.beside_json(model.file_of("uff")).read_bytes()]
    assert first == again


def test_the_text_form_names_large_blobs_by_their_size(home):
    from google.protobuf import text_format

    model = make()[0]
    text = model.file_of("uff").with_suffix(".pbtxt").read_text()
    assert len(text) < 1 << 20 and "bytes skipped...)" in text
    read = text_format.Parse(text, schema_pb2.MetaGraph())
    meta = meta_of(model)
    assert read.graphs == meta.graphs
    for key, value in meta.referenced_data.items():
        if len(value.blob) > 32:
            assert read.referenced_data[key].blob == b"(...%d bytes skipped...)" % len(value.blob)
        else:
            assert read.referenced_data[key] == value


def test_without_t_there_is_no_text_and_no_old_one(home):
    model, _ = make(text=True)
    assert model.file_of("uff").with_suffix(".pbtxt").exists()
    make(text=False)
    assert not model.file_of("uff").with_suffix(".pbtxt").exists()


def test_the_json_tells_what_a_build_needs(home):
    model, _ = make()
    told = json.loads(paths.beside_json(model.file_of("uff")).read_text())
    assert told["input"]["name"] == "Input" and told["input"]["shape"] == [1, 3, 300, 300]
    assert told["input"]["mean"] == told["input"]["std"] == [127.5] * 3
    assert told["labels"] == ["background", "bear", "horse", "giraffe"]
    assert [each["name"] for each in told["outputs"]] == ["NMS", "NMS_1"]
    assert told["tensorrt"]["register_input"] == {
        "name": "Input",
        "shape": [3, 300, 300],
        "order": "NCHW",
    }
    assert (
        told["tensorrt"]["register_output"] == "MarkOutput_0"
        and told["tensorrt"]["num_classes"] == 4
    )
    assert told["writer"] == "todus" or told["writer"].startswith("uff ")


def test_labels_with_gaps_keep_their_places():
    numbers = settings.read(
        uff_models.pipeline.parse(uff_models.pipeline_text(NAME, 14), "here"), "here"
    )
    labels = convert.describe(
        numbers, {1: "person", 11: "fire hydrant", 13: "sign"}, 2 / 255.0, -1.0, [1, 1], 9
    )["labels"]
    assert len(labels) == 15 and (labels[1], labels[11], labels[12], labels[13]) == (
        "person",
        "fire hydrant",
        None,
        "sign",
    )


# Netron.


def netron_modules(folder):
    """A copy of netron's UFF reader that node can import; skips by name where netron or node is missing."""
    found = importlib.util.find_spec("netron")
    if found is None or not found.submodule_search_locations:
        pytest.skip("netron is not installed")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    source = Path(found.submodule_search_locations[0])
    for name in (
        "uff.js",
        "uff-proto.js",
        "uff-metadata.json",
        "protobuf.js",
        "text.js",
        "base.js",
    ):
        shutil.copy(str(source / name), str(folder / name))
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


@pytest.mark.parametrize("form", ["uff", "pbtxt"])
@pytest.mark.parametrize("name", [NAME, INCEPTION])
def test_netron_opens_it_and_resolves_every_input(home, tmp_path, name, form):
    folder = tmp_path / "netron"
    folder.mkdir()
    netron_modules(folder)
    model = make(name)[0]
    command = [
        shutil.which("node"),
        str(REPO / "tests" / "helpers" / "uff_netron.mjs"),
        str(folder),
        str(model.file_of("uff").with_suffix("." + form)),
    ]
    seen = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode())
    assert seen["dangling"] == []
    assert seen["format"] == "UFF v1" and seen["imports"] == [
        "tensorflow_extension v1",
        "custom v1",
    ]
    assert seen["inputs"] == [["Input", "float32[1,3,300,300]"]] and seen["outputs"] == [
        ["MarkOutput_0", "NMS"]
    ]
    assert len(seen["nodes"]) + len(seen["constants"]) + 2 == len(nodes_of(model))


# NVIDIA's own package.


def graph_def_of(name=NAME, size=300):
    """The graph that both writers are given."""
    config = uff_models.pipeline_text(name, 3, size)
    numbers = settings.read(uff_models.pipeline.parse(config, "here"), "here")
    network = surgery.cut(graphs_of.Graph(uff_models.frozen(config), "here"), scopes.load(name))
    body = probe.body(network, size, size)
    return surgery.with_plugins(network, body.nodes, numbers, [each[0] for each in body.maps], 330)


def test_both_writers_say_the_same_node_by_node():
    pytest.importorskip("uff", reason="NVIDIA's uff package is not installed")
    graph_def = graph_def_of()
    theirs, name = nvidia.meta_graph(graph_def, surgery.NMS)
    assert theirs is not None, name
    ours = writer.meta_graph(graph_def, surgery.NMS, "here")
    assert [node.id for node in theirs.graphs[0].nodes] == [
        node.id for node in ours.graphs[0].nodes
    ]
    for one, other in zip(ours.graphs[0].nodes, theirs.graphs[0].nodes):
        assert one == other
    assert dict(ours.referenced_data) == dict(theirs.referenced_data)


def stand_in(behaviour, monkeypatch):
    module = types.ModuleType("uff")
    module.__version__ = "0.6.9"
    module.from_tensorflow = behaviour
    monkeypatch.setitem(sys.modules, "uff", module)


def test_nvidias_package_writes_the_file_where_it_is_installed(home, monkeypatch):
    def from_tensorflow(graph_def, output_nodes, output_filename, **options):
        print("noise")
        meta = writer.meta_graph(graph_def, output_nodes[0], "there")
        Path(output_filename).write_bytes(meta.SerializeToString())

    before = make()[0].file_of("uff").read_bytes()
    stand_in(from_tensorflow, monkeypatch)
    model, said = make()
    assert said == ["written by NVIDIA's uff 0.6.9"]
    assert json.loads(paths.beside_json(model.file_of("uff")).read_text())["writer"] == "uff 0.6.9"
    assert model.file_of("uff").read_bytes() == before


def test_todus_writes_where_nvidias_package_fails(home, monkeypatch):
    def from_tensorflow(*arguments, **options):
        raise ImportError("No module named 'graphsurgeon'")

    stand_in(from_tensorflow, monkeypatch)
    model, said = make()
    assert said == [
        "written by Todus's own writer: NVIDIA's uff 0.6.9 failed (No module named 'graphsurgeon')"
    ]
    assert model.file_of("uff").exists()


def test_todus_says_that_nvidias_package_is_not_there(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "uff", None)
    _, said = make()
    assert len(said) == 1 and said[0].startswith(
        "written by Todus's own writer: NVIDIA's uff is not importable"
    )
