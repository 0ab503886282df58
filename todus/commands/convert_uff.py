"""Converts an SSD to UFF, the graph file of TensorRT 5 to 9 (JetPack 4 on a Jetson): model/MODEL/MODEL.uff and MODEL.uff.json.

  python -m convert_uff -m ssd_mobilenet_v1_coco_2018_01_28        the zoo's own graph with its 90 classes
  python -m convert_uff -m ssd_mobilenet_v1_coco_2018_01_28 -i     the exported model with its classes (after ./export.sh)

Models whose names begin with a name in config/ convert. NVIDIA's uff package writes the file where it is installed,
Todus otherwise. docs/tensorrt.md tells what to do with the file; TensorRT 10 reads ONNX only (./convert-onnx.sh).
"""

from typing import List, Optional

from todus import command, paths
from todus.commands import preflight


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("convert_uff", __doc__)
    parser.add_argument(
        "-m", "--model", required=True, metavar="MODEL", help="a directory under model/"
    )
    parser.add_argument(
        "-i",
        "--inference-graph",
        action="store_true",
        help="the exported graph instead of the zoo's",
    )
    parser.add_argument(
        "-t", "--text", action="store_true", help="also write MODEL.pbtxt, the readable form"
    )
    given = parser.parse_args(argv)

    preflight.convert()
    from todus.uff import convert

    model = paths.model(given.model)
    target = convert.run(
        model, given.inference_graph, given.text, lambda line: command.say("convert_uff: " + line)
    )
    print(target)
    command.say(
        "next: copy it and %s to the device and build the engine there, see docs/tensorrt.md"
        % paths.beside_json(target).name
    )
    return 0
