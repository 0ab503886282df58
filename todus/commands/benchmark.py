"""benchmark.sh."""

import sys

from todus import benchmark, command, detectors, files, prepare
from todus.commands import chosen_model, number


def main(_argv=None) -> int:
    from todus import evaluation

    model = chosen_model()
    rounds, threads = number("ROUNDS", int, 50), number("THREADS", int, None)
    examples = evaluation.examples_of(prepare.dataset_of(model), "val", min(rounds, 50))
    images = [evaluation.decode(example.encoded) for example in examples]
    result = benchmark.run(model, images, rounds, threads, lambda title: command.say("benchmark: opening %s" % title))
    result["cores"] = detectors.cores()
    benchmark.print_table(result)
    files.write_json(model.folder / "benchmark.json", result)
    benchmark.draw(model.folder / "benchmark.png", result)
    print("written: %s, %s" % (model.folder / "benchmark.json", model.folder / "benchmark.png"))
    print("next: make report MODEL=%s" % model.name)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("benchmark", main))
