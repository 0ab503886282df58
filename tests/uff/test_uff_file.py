"""The content of UFF files, and which package writes them.

The format's numbers, the same nodes as NVIDIA's converter, netron's reader, reproducible bytes.
"""

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
from google.protobuf import text_format

from tests.helpers import uff_models
from tests.helpers.places import REPO
from todus import files, paths
from todus.errors import TodusError
from todus.uff import convert, nvidia, probe, schema_pb2, scopes, settings, surgery, writer
from todus.uff import graphs as graphs_of

NAME = "ssd_mobilenet_v2_coco_2018_03_29"
INCEPTION = "ssd_inception_v2_coco_2018_01_28"


def make(name=NAME, text=True, **changes):
    """Converts a model of three classes and returns (its paths, the lines for the user)."""
    config = uff_models.pipeline_text(name, 3, 300, **changes)
    model = uff_models.lay_out(name, config, uff_models.frozen(config), uff_models.classes(3))
    lines = []
    convert.run(model, False, text, lines.append)
    return model, lines


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name -> a converted model; tests only read them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TODUS_HOME", str(tmp_path_factory.mktemp("home")))
        return {name: make(name)[0] for name in (NAME, INCEPTION)}


def meta_of(model):
    return schema_pb2.MetaGraph.FromString(model.file_of("uff").read_bytes())


def nodes_of(model):
    return {node.id: node for node in meta_of(model).graphs[0].nodes}


def fields_of(node):
    """name -> value of a node's fields; lists as lists."""
    result = {}
    for name, field in node.fields.items():
        kind = field.WhichOneof("data_oneof")
        value = getattr(field, kind)
        result[name] = list(value.val) if kind.endswith("_list") else value
    return result


# The published numbers of the fields of each message.
NUMBERS = {
    "MetaGraph": "version=1 descriptor_core_version=2 descriptors=3 graphs=4 referenced_data=5 "
    "extra_fields=100",
    "Descriptor": "id=1 version=2 optional=3",
    "Graph": "id=1 nodes=2 extra_fields=100",
    "Node": "id=1 inputs=2 operation=3 fields=4 extra_fields=100",
    "Data": "s=1 s_list=2 d=3 d_list=4 b=5 b_list=6 i=7 i_list=8 blob=9 ref=100 dtype=101 "
    "dtype_list=102 dim_orders=103 dim_orders_list=104",
    "DimensionOrders": "orders=1",
    "ListDimensionOrders": "val=1",
}


@pytest.mark.parametrize("message", sorted(NUMBERS))
def test_the_schema_has_the_numbers_of_the_format(message):
    fields = getattr(schema_pb2, message).DESCRIPTOR.fields
    found = {"%s=%d" % (field.name, field.number) for field in fields}
    assert found == set(NUMBERS[message].split())


def test_the_schema_has_the_types_of_the_format():
    assert (schema_pb2.DT_FLOAT32, schema_pb2.DT_INT32) == (131104, 65568)


def test_versions_descriptors_and_order_are_those_of_nvidias_converter(models):
    meta = meta_of(models[NAME])
    assert (meta.version, meta.descriptor_core_version) == (1, 1)
    descriptors = [(each.id, each.version, each.optional) for each in meta.descriptors]
    assert descriptors == [("tensorflow_extension", 1, False), ("custom", 1, False)]
    (graph,) = meta.graphs
    first, second, last = graph.nodes[0], graph.nodes[1], graph.nodes[-1]
    assert (graph.id, first.id, last.id) == ("main", "NMS", "MarkOutput_0")
    assert (last.operation, list(last.inputs)) == ("MarkOutput", ["NMS"])
    # The work list is popped from its end: the last input of NMS is written next.
    assert second.id == first.inputs[-1]


def test_plugins_have_the_numbers_of_the_pipeline(models):
    nodes = nodes_of(models[NAME])
    fields = {name: fields_of(node) for name, node in nodes.items()}
    assert fields["Input"] == {"dtype": schema_pb2.DT_FLOAT32, "shape": [1, 3, 300, 300]}
    anchors = fields["GridAnchor"]
    assert anchors["featureMapShapes_u_ilist"] == [19, 10, 5, 3, 2, 1]
    assert anchors["numLayers_u_int"] == 6
    np.testing.assert_allclose(anchors["aspectRatios_u_flist"], [1, 2, 0.5, 3, 0.3333], rtol=1e-6)
    np.testing.assert_allclose(anchors["variance_u_flist"], [0.1, 0.1, 0.2, 0.2], rtol=1e-6)
    sizes = anchors["minSize_u_float"], anchors["maxSize_u_float"]
    assert sizes == (np.float32(0.2), np.float32(0.95))
    assert list(nodes["GridAnchor"].inputs) == ["AnchorInput"]
    assert nodes["concat_priorbox"].operation == "Concat"
    assert fields["concat_priorbox"] == {"axis": 2}
    expected = {"axis_u_int": 1, "ignoreBatch_u_int": 0, "dtype": schema_pb2.DT_FLOAT32}
    for name, edge in (("concat_box_loc", "Reshape"), ("concat_box_conf", "Reshape_1")):
        assert fields[name] == expected
        assert list(nodes[name].inputs) == ["BoxPredictor_%d/%s" % (at, edge) for at in range(6)]
    nms = fields["NMS"]
    assert {name: value for name, value in nms.items() if name.endswith("_int")} == {
        "shareLocation_u_int": 1,
        "varianceEncodedInTarget_u_int": 0,
        "backgroundLabelId_u_int": 0,
        "topK_u_int": 512,
        "keepTopK_u_int": 100,
        "numClasses_u_int": 4,
        "confSigmoid_u_int": 1,
        "isNormalized_u_int": 1,
    }
    thresholds = nms["confidenceThreshold_u_float"], nms["nmsThreshold_u_float"]
    assert thresholds == (np.float32(0.3), np.float32(0.6))


def test_input_order_follows_the_edges_of_the_graph(home, models):
    inputs = ["concat_box_loc", "concat_box_conf", "concat_priorbox"]
    nms = nodes_of(models[NAME])["NMS"]
    places = [list(nms.inputs).index(name) for name in inputs]
    assert fields_of(nms)["inputOrder_u_ilist"] == places == [0, 2, 1]
    config = uff_models.pipeline_text(NAME, 3, 300)
    graph_def = uff_models.frozen(config)
    # The node that takes the classes becomes the first.
    nodes = sorted(graph_def.node, key=lambda node: node.name != "Postprocessor/scale_logits")
    changed = type(graph_def)(versions=graph_def.versions, node=nodes)
    model = uff_models.lay_out(NAME, config, changed, uff_models.classes(3))
    convert.run(model, False, False, lambda line: None)
    nms = nodes_of(model)["NMS"]
    assert list(nms.inputs) == ["concat_box_conf", "concat_box_loc", "concat_priorbox"]
    assert fields_of(nms)["inputOrder_u_ilist"] == [1, 0, 2]


def test_orders_hold_the_layouts(models):
    more = schema_pb2.OE_INCREMENT
    orders = {
        key: [list(each.orders[schema_pb2.OE_SPECIAL].val) for each in value.dim_orders_list.val]
        for key, value in meta_of(models[NAME]).referenced_data.items()
        if key.startswith("orders_")
    }
    data = [0, 2, more, 1]
    assert orders == {"orders_N+C_+CK": [data, [2, more, 1, 0]], "orders_N+C": [data]}


def test_depthwise_weights_and_scalars_keep_their_shape(models):
    nodes = nodes_of(models[INCEPTION])
    convolutions = [node for node in nodes.values() if node.operation == "Conv"]
    (grouped,) = [node for node in convolutions if "number_groups" in node.fields]
    assert fields_of(grouped)["number_groups"] == 3
    weights = fields_of(nodes[grouped.inputs[1]])
    assert weights["shape"] == [7, 7, 3, 8]
    assert weights["values"] == "weights_" + grouped.inputs[1]
    blob = meta_of(models[INCEPTION]).referenced_data[weights["values"]].blob
    assert len(blob) == 7 * 7 * 3 * 8 * 4
    shape = nodes["BoxPredictor_0/Reshape/shape/1"].fields["shape"]
    assert shape.WhichOneof("data_oneof") == "i_list" and not shape.i_list.val


# The operations in what NVIDIA's converter 0.6.3 makes of exports of these models (MobileNet v2
# without depthwise extra layers).
OPERATIONS = {
    "ssd_mobilenet_v1_coco_2018_01_28": "Const=265 Conv=47 BatchNorm=35 Activation=35 Binary=12",
    NAME: "Const=390 Conv=72 BatchNorm=60 Activation=43 Binary=22",
    INCEPTION: "Const=476 Conv=90 BatchNorm=77 Activation=77 Binary=12 Pool=12 Concat=11",
}
COMMON = "Reshape=12 Stack=12 StridedSlice=12 Shape=12 Concat=1 Input=1 MarkOutput=1"
PLUGINS = "_GridAnchor_TRT=1 _FlattenConcat_TRT=2 _NMS_TRT=1"


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_operations_are_those_of_nvidias_converter(home, name):
    model = make(name, **({"features": ""} if name == NAME else {}))[0]
    found = collections.Counter(node.operation for node in nodes_of(model).values())
    counts = [each.split("=") for each in " ".join([COMMON, PLUGINS, OPERATIONS[name]]).split()]
    expected = {operation: int(count) for operation, count in counts}
    # NVIDIA's converter gives GridAnchor no input.
    expected["Const"] += 1
    assert found == expected


def test_every_input_is_a_node_and_every_constant_is_used(models):
    nodes = nodes_of(models[INCEPTION])
    used = {edge for node in nodes.values() for edge in node.inputs}
    assert used - set(nodes) == set()
    assert set(nodes) - used == {"MarkOutput_0"}


def test_a_conversion_in_another_process_gives_the_same_bytes(models, tmp_path):
    folder = tmp_path / "model" / NAME
    shutil.copytree(str(models[NAME].pretrained), str(folder / "pretrained"))
    environment = {"TODUS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-m", "convert_uff", "-m", NAME, "-t"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, cwd=str(REPO), env=environment, **silent)
    made = sorted(path.name for path in folder.glob(NAME + ".*"))
    assert made == [NAME + suffix for suffix in (".pbtxt", ".uff", ".uff.json")]
    for name in made:
        assert (folder / name).read_bytes() == (models[NAME].folder / name).read_bytes()


def test_the_text_form_gives_large_blobs_by_their_size(models):
    text = models[NAME].file_of("uff").with_suffix(".pbtxt").read_text()
    assert len(text) < 1 << 20 and "bytes skipped...)" in text
    read = text_format.Parse(text, schema_pb2.MetaGraph())
    meta = meta_of(models[NAME])
    assert read.graphs == meta.graphs
    for value in meta.referenced_data.values():
        if len(value.blob) > 32:
            value.blob = b"(...%d bytes skipped...)" % len(value.blob)
    assert read.referenced_data == meta.referenced_data


def test_a_conversion_without_text_removes_an_old_text(home):
    model, _ = make(text=True)
    assert model.file_of("uff").with_suffix(".pbtxt").exists()
    make(text=False)
    assert not model.file_of("uff").with_suffix(".pbtxt").exists()


def test_the_json_describes_what_a_build_needs(models):
    described = files.read_json(paths.beside_json(models[NAME].file_of("uff")))
    assert described["input"]["name"] == "Input"
    assert described["input"]["shape"] == [1, 3, 300, 300]
    assert described["input"]["mean"] == described["input"]["std"] == [127.5] * 3
    assert described["labels"] == ["background", "bear", "horse", "giraffe"]
    assert [each["name"] for each in described["outputs"]] == ["NMS", "NMS_1"]
    build = described["tensorrt"]
    registered = {"name": "Input", "shape": [3, 300, 300], "order": "NCHW"}
    assert build["register_input"] == registered and build["register_output"] == "MarkOutput_0"
    assert build["num_classes"] == 4
    assert described["writer"] == "todus" or described["writer"].startswith("uff ")


def settings_of(config):
    return settings.read(uff_models.pipeline.parse(config, "here"), "here")


def test_labels_with_gaps_keep_their_places():
    numbers = settings_of(uff_models.pipeline_text(NAME, 14))
    names = {1: "person", 11: "fire hydrant", 13: "sign"}
    labels = convert.describe(numbers, names, 2 / 255.0, -1.0, [1, 1], 9)["labels"]
    assert len(labels) == 15
    assert (labels[1], *labels[11:14]) == ("person", "fire hydrant", None, "sign")


def test_colors_are_swapped_in_a_convolution_only():
    config = uff_models.pipeline_text(NAME, 3, 300)
    network = surgery.cut(graphs_of.Graph(uff_models.frozen(config), "here"), scopes.load(NAME))
    relu = next(node for node in network.graph.nodes.values() if node.op == "Relu6")
    first = type(relu)(name="first", op=relu.op, input=[surgery.INPUT])
    with pytest.raises(TodusError, match="Input goes to Relu6.*without --bgr"):
        surgery.swap_colors(network, [first])


# Netron.


@pytest.fixture
def netron(tmp_path):
    """A copy of netron's UFF reader that node can import; skips where netron or node is missing."""
    found = importlib.util.find_spec("netron")
    if found is None or not found.submodule_search_locations:
        pytest.skip("netron is not installed")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    source = Path(found.submodule_search_locations[0])
    modules = ("uff", "uff-proto", "protobuf", "text", "base")
    for name in ["uff-metadata.json"] + [each + ".js" for each in modules]:
        shutil.copy(str(source / name), str(tmp_path / name))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


@pytest.mark.parametrize("form", ["uff", "pbtxt"])
@pytest.mark.parametrize("name", [NAME, INCEPTION])
def test_netron_opens_the_file_and_resolves_every_input(models, netron, name, form):
    script = REPO / "tests" / "helpers" / "uff_netron.mjs"
    path = models[name].file_of("uff").with_suffix("." + form)
    output = subprocess.check_output(["node", str(script), str(netron), str(path)])
    graph = json.loads(output.decode())
    assert graph["dangling"] == []
    assert graph["format"] == "UFF v1"
    assert graph["imports"] == ["tensorflow_extension v1", "custom v1"]
    assert graph["inputs"] == [["Input", "float32[1,3,300,300]"]]
    assert graph["outputs"] == [["MarkOutput_0", "NMS"]]
    assert len(graph["nodes"]) + len(graph["constants"]) + 2 == len(nodes_of(models[name]))


# NVIDIA's own package.


def test_both_writers_write_the_same_nodes():
    pytest.importorskip("uff", reason="NVIDIA's uff package is not installed")
    config = uff_models.pipeline_text(NAME, 3, 300)
    network = surgery.cut(graphs_of.Graph(uff_models.frozen(config), "here"), scopes.load(NAME))
    body = probe.body(network, 300, 300)
    sides = [each[0] for each in body.maps]
    graph_def = surgery.with_plugins(network, body.nodes, settings_of(config), sides, 330)
    theirs, name = nvidia.meta_graph(graph_def, surgery.NMS)
    assert theirs is not None, name
    ours = writer.meta_graph(graph_def, surgery.NMS, "here")
    assert list(ours.graphs[0].nodes) == list(theirs.graphs[0].nodes)
    assert dict(ours.referenced_data) == dict(theirs.referenced_data)


def fake_uff(from_tensorflow, monkeypatch):
    module = types.ModuleType("uff")
    module.__version__ = "0.6.9"
    module.from_tensorflow = from_tensorflow
    monkeypatch.setitem(sys.modules, "uff", module)


def test_nvidias_package_writes_the_file_where_it_is_installed(home, models, monkeypatch):
    def from_tensorflow(graph_def, output_nodes, output_filename, **options):
        print("noise")
        meta = writer.meta_graph(graph_def, output_nodes[0], "there")
        Path(output_filename).write_bytes(meta.SerializeToString())

    fake_uff(from_tensorflow, monkeypatch)
    model, lines = make()
    assert lines == ["written by NVIDIA's uff 0.6.9"]
    assert files.read_json(paths.beside_json(model.file_of("uff")))["writer"] == "uff 0.6.9"
    assert model.file_of("uff").read_bytes() == models[NAME].file_of("uff").read_bytes()


def test_todus_writes_the_file_where_nvidias_package_fails(home, monkeypatch):
    def from_tensorflow(*arguments, **options):
        raise ImportError("No module named 'graphsurgeon'")

    fake_uff(from_tensorflow, monkeypatch)
    model, lines = make()
    reason = "NVIDIA's uff 0.6.9 failed (No module named 'graphsurgeon')"
    assert lines == ["written by Todus's own writer: " + reason]
    assert model.file_of("uff").exists()


def test_todus_writes_the_file_where_nvidias_package_is_not_installed(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "uff", None)
    (line,) = make()[1]
    assert line.startswith("written by Todus's own writer: NVIDIA's uff is not importable")
