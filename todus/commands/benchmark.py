"""benchmark.sh."""

import sys

from todus import command, files, variables
from todus.commands import chosen_model
from todus.evaluation import latency
from todus.machine import cores
from todus.model import artefacts, prepared


def main(_argv=None) -> int:
    from todus.dataset import image_files
    from todus.evaluation import average_precision

    model = chosen_model()
    rounds, threads = (variables.value(name, "benchmark") for name in ("ROUNDS", "THREADS"))
    examples = average_precision.examples_of(prepared.dataset_of(model), "val", min(rounds, 50))
    images = [image_files.decode(example.encoded) for example in examples]

    def say(line: str) -> None:
        command.say("benchmark: %s" % line)

    result = latency.run(
        model, images, rounds, threads, lambda title: say("opening %s" % title), say
    )
    result.update(cores=cores.cores(), classes=list(artefacts.of_model(model).classes))
    latency.print_table(result)
    written = [model.folder / name for name in ("benchmark.json", "benchmark.png")]
    files.write_json(written[0], result)
    latency.draw(written[1], result)
    print("written: %s, %s" % tuple(written))
    print("next: make report MODEL=%s" % model.name)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("benchmark", main))
