"""Fuzzes one parser in this process: python -m tests.fuzz.one TARGET SECONDS SEED FOLDER

With atheris, inputs that reach new code are kept in FOLDER/corpus and changed further; without, and
for a parser that needs TensorFlow, valid inputs are damaged. Each finding is a file in
FOLDER/findings with the input, and one beside it with the line that describes it.
"""

import hashlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict

NAME, SECONDS, SEED, FOLDER = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
HANGS = 90  # seconds of waiting, after which the process ends

if importlib.util.find_spec("atheris") and NAME != "frozen graph":
    import atheris

    schemas = ["todus.slicing.tflite_schema", "todus.slicing.metadata_schema"]
    included = ["todus", "tarfile", "zipfile", "yaml"]
    with atheris.instrument_imports(include=included, exclude=schemas):
        from tests.fuzz import targets
else:
    atheris = None
    from tests.fuzz import targets

from tests.fuzz.mutation import mutated


class Finder:
    """Runs inputs, and writes each finding once for each place.

    Attributes:
      runs: inputs so far.
    """

    def __init__(self, fuzzed: targets.Fuzzed):
        self._fuzzed, self.runs, self._end = fuzzed, 0, time.time() + SECONDS
        self._found: Dict[str, str] = {}
        self._folder = FOLDER / "findings"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._current = self._folder / "running"

    def __call__(self, data: bytes) -> None:
        self.runs += 1
        self._current.write_bytes(data)  # stays where the process dies
        text = self._fuzzed.run(data)
        place = text.split(": ")[0]
        if text and place not in self._found:
            self._found[place] = text
            name = hashlib.sha256(place.encode()).hexdigest()[:12]
            (self._folder / name).write_bytes(data)
            (self._folder / (name + ".txt")).write_text(text + "\n", encoding="utf-8")

    def is_done(self) -> bool:
        return time.time() > self._end


def damage(find: Finder, fuzzed: targets.Fuzzed) -> None:
    is_json, seed = targets.TARGETS[NAME].is_json, SEED << 32
    while not find.is_done():
        find(mutated(fuzzed.seeds, seed, is_json))
        seed += 1
    print("stat::number_of_executed_units: %d" % find.runs)


def fuzz(find: Finder, fuzzed: targets.Fuzzed) -> None:
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in fuzzed.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    is_json = targets.TARGETS[NAME].is_json

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % 3:
            return atheris.Mutate(data, most)
        return mutated([data] if seed % 2 and not is_json else fuzzed.seeds, seed, is_json)[:most]

    def once(data: bytes) -> None:
        find(data)

    options = ["-max_len=%d" % targets.LARGEST, "-timeout=%d" % HANGS, "-rss_limit_mb=0"]
    options += ["-max_total_time=%d" % max(1, SECONDS), "-seed=%d" % (SEED + 1), "-verbosity=0"]
    options += ["-print_final_stats=1", "-artifact_prefix=%s/" % (FOLDER / "findings")]
    atheris.Setup([NAME, *options, str(corpus)], once, custom_mutator=change)
    atheris.Fuzz()


def main() -> None:
    targets.limit_memory()
    with tempfile.TemporaryDirectory(prefix="todus-fuzz-") as folder:
        fuzzed = targets.Fuzzed(NAME, Path(folder))
        find = Finder(fuzzed)
        for seed in fuzzed.seeds:
            find(seed)
        (fuzz if atheris else damage)(find, fuzzed)


main()
