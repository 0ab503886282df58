"""convert-onnx.sh."""

import sys

from todus import command
from todus.commands import choice, chosen_model, number, preflight
from todus.export import onnx


def main(_argv=None) -> int:
    model = chosen_model()
    end = choice("NMS", onnx.ENDS, "graph")
    preflight.convert("onnx", "tf2onnx")
    path, described = onnx.convert(model, end, number("OPSET", int, onnx.OPSET))
    print("%s  %.1f MB, opset %d, checked" % (path, path.stat().st_size / 1e6, described["opset"]))
    command.say(described["labels_note"])
    if end == "graph":
        print("next: python -m eval -m %s --format onnx" % model.name)
    else:
        print("next, where TensorRT is: trtexec --onnx=%s --fp16 --saveEngine=%s.engine" % (path.name, model.name))
    return 0


if __name__ == "__main__":
    sys.exit(command.run("convert-onnx", main))
