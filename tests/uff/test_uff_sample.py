"""The sample in docs/tensorrt.md, run with fakes of TensorRT and CUDA.

The UFF interpreter of the tests computes the detections.
"""

import re
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tests.helpers import uff_models
from tests.helpers.places import REPO
from tests.helpers.uff_interpreter import Interpreter
from todus.uff import convert

DOCS = REPO / "docs" / "tensorrt.md"
NAME = "ssd_mobilenet_v1_coco_2018_01_28"


class Managed:
    """TensorRT's builder, network and parser: classes to use in a with statement."""

    def __init__(self, *arguments):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def fake_tensorrt(monkeypatch, version):
    """Installs fakes of tensorrt and pycuda; returns the log of what the sample registers."""
    log = []

    class Parser(Managed):
        def register_input(self, name, shape):
            log.append((name, tuple(shape)))

        def register_output(self, name):
            log.append(name)

        def parse(self, path, network):
            network.path = path
            return True

    class Builder(Managed):
        platform_has_fast_fp16 = True

        def create_network(self):
            return Managed()

        if version < 8:

            def build_cuda_engine(self, network):
                assert self.max_workspace_size and self.fp16_mode and self.max_batch_size == 1
                return types.SimpleNamespace(serialize=lambda: network.path.encode())

        else:

            def create_builder_config(self):
                return types.SimpleNamespace(
                    set_memory_pool_limit=lambda pool, size: log.append(size), set_flag=log.append
                )

            def build_serialized_network(self, network, config):
                return network.path.encode()

    class Engine:
        num_bindings = 3

        def __init__(self, path):
            self._interpreter = Interpreter(path)

        def binding_is_input(self, index):
            return index == 0

        def get_binding_name(self, index):
            return ["Input", "NMS", "NMS_1"][index]

        def get_binding_shape(self, index):
            return [(3, 128, 128), (1, 100, 7), (1, 1, 1)][index]

        def create_execution_context(self):
            return self

        def execute(self, batch_size, bindings):
            image = memories[bindings[0]].reshape(3, 128, 128).transpose(1, 2, 0)
            rows, count = self._interpreter.run(image, ["NMS"])[0]
            memories[bindings[1]] = rows
            memories[bindings[2]] = np.array([count], np.int32).view(np.float32)
            return True

    memories = {}
    cuda = types.ModuleType("pycuda.driver")
    cuda.mem_alloc = lambda size: len(memories) + memories.setdefault(len(memories), 0)
    cuda.memcpy_htod = memories.__setitem__

    def memcpy_dtoh(host, memory):
        host[:] = memories[memory].ravel()

    cuda.memcpy_dtoh = memcpy_dtoh
    trt = types.ModuleType("tensorrt")
    trt.Logger, trt.Logger.WARNING = Managed, 1
    trt.init_libnvinfer_plugins = lambda logger, namespace: None
    trt.Builder, trt.UffParser, trt.volume = Builder, Parser, lambda shape: int(np.prod(shape))
    trt.BuilderFlag = trt.MemoryPoolType = types.SimpleNamespace(FP16="fp16", WORKSPACE="workspace")
    trt.Runtime = lambda logger: types.SimpleNamespace(
        deserialize_cuda_engine=lambda data: Engine(data.decode())
    )
    package, autoinit = types.ModuleType("pycuda"), types.ModuleType("pycuda.autoinit")
    package.driver = cuda
    for module in (trt, package, cuda, autoinit):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return log


@pytest.mark.parametrize("version, bgr", [(7, False), (8, False), (8, True)])
def test_the_sample_builds_an_engine_and_prints_detections(home, monkeypatch, capsys, version, bgr):
    text = uff_models.pipeline_text(NAME, 3, 128)
    model = uff_models.lay_out(NAME, text, uff_models.frozen(text), uff_models.classes(3))
    path = convert.run(model, False, False, lambda line: None, bgr)
    pixels = uff_models.images(128, 1)[0]
    Image.fromarray(pixels).save(str(home / "image.png"))
    log = fake_tensorrt(monkeypatch, version)
    monkeypatch.setattr(sys, "argv", ["detect_trt.py", str(path), str(home / "image.png")])
    samples = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (sample,) = [code for code in samples if "UffParser" in code]
    exec(compile(sample, str(DOCS), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    given = pixels[..., ::-1] if bgr else pixels
    rows = Interpreter(path).detections(given.astype(np.float32) / np.float32(127.5) - 1)
    assert len(lines) == len(rows) > 0
    names = ["background", "bear", "horse", "giraffe"]
    assert [line.split()[0] for line in lines] == [names[int(row[1])] for row in rows]
    assert lines[0].split()[2:] == ["%d" % round(value * 128) for value in rows[0][3:]]
    assert log[:2] == [("Input", (3, 128, 128)), "MarkOutput_0"]
    assert path.with_suffix(".engine").exists()
