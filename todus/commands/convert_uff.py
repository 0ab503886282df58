"""Converts an SSD to UFF, the graph file of TensorRT 5 to 8.6 (JetPack 4 on a Jetson).

Writes model/MODEL/MODEL.uff and MODEL.uff.json.

  python -m convert_uff -m ssd_mobilenet_v1_coco_2018_01_28     the zoo's graph with its 90 classes
  python -m convert_uff -m ssd_mobilenet_v1_coco_2018_01_28 -i  the graph that ./export.sh wrote

A model converts if its name begins with a name in config/. NVIDIA's uff package writes the file
if it is installed, else Todus does. docs/tensorrt.md shows how to use the file. Later TensorRT
reads ONNX only (./convert-onnx.sh). ALLOW_OPS is as in python -m detect.
"""

from typing import List, Optional

from todus import command, paths
from todus.commands import arguments, preflight


def main(argv: Optional[List[str]] = None) -> int:
    parser = command.Parser("convert_uff", __doc__)
    arguments.add_model(parser, required=True)
    arguments.add_inference_graph(parser)
    parser.add_argument("-t", "--text", action="store_true", help="also write MODEL.pbtxt")
    text = "take BGR instead of RGB, as jetson-inference gives it to UFF models"
    parser.add_argument("--bgr", action="store_true", help=text)
    given = parser.parse_args(argv)

    preflight.convert()
    from todus.uff import convert

    target = convert.run(
        paths.model(given.model),
        given.inference_graph,
        given.text,
        lambda line: command.say("convert_uff: " + line),
        given.bgr,
    )
    print(target)
    command.say(
        "next: copy it and %s to the device and build the engine there, see docs/tensorrt.md"
        % paths.beside_json(target).name
    )
    return 0
