"""Measures the latency of every form of a model; ./benchmark.sh."""

import sys

from todus import command, files, variables
from todus.commands import chosen_model
from todus.commands.arguments import add_runtime
from todus.evaluation import latency
from todus.machine import cores
from todus.model import artefacts, prepared


def parser() -> command.Parser:
    result = command.Parser("benchmark", __doc__)
    add_runtime(result)
    return result


def main(argv=None) -> int:
    arguments = parser().parse_args(argv or [])
    from todus.dataset import image_files
    from todus.evaluation import average_precision

    model = chosen_model()
    rounds, threads = (variables.value(name, "benchmark") for name in ("ROUNDS", "THREADS"))
    examples = average_precision.examples_of(prepared.dataset_of(model), "val", min(rounds, 50))
    images = [image_files.decode(example.encoded) for example in examples]

    def say(line: str) -> None:
        command.say("benchmark: %s" % line)

    def tick(title: str) -> None:
        say("opening %s" % title)

    result = latency.run(model, images, rounds, threads, tick, say, arguments.runtime)
    result.update(cores=cores.cores(), classes=list(artefacts.of_model(model).classes))
    latency.print_table(result)
    written = [model.folder / name for name in ("benchmark.json", "benchmark.png")]
    files.write_json(written[0], result)
    latency.draw(written[1], result)
    print("written: %s, %s" % tuple(written))
    print("next: make report MODEL=%s" % model.name)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("benchmark", main, sys.argv[1:]))
