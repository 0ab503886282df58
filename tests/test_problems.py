"""docs/problems.md names existing tests; and tests of problems that belong to no other file."""

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.helpers.own_images import voc_folder
from tests.helpers.places import MODEL, REPO
from todus import paths
from todus.dataset.records import reader
from todus.doctor.packages import OF_TENSORFLOW
from todus.fetching import many, transport
from todus.machine.environment import REQUIREMENTS, pins
from todus.model import prepared as state
from todus.progress import Progress

TABLE = REPO / "docs" / "problems.md"
NAMED = re.compile(r"`((?:\w+/)?test_\w+\.py)::(test_\w+)`")
ROW = re.compile(r"\| (\d+) \| (.+) \| (.+) \| (.+) \|")

# The commands at the top, and doctor, with the arguments that they require.
ARGUMENTS = {
    "dataset-csv.sh": ["a.csv", "images"],
    "dataset-voc.sh": ["a"],
    "dataset-yolo.sh": ["a"],
    "dataset-coco-json.sh": ["a"],
    "dataset-cvat.sh": ["a"],
    "dataset-labelme.sh": ["a"],
    "dataset.sh": ["a"],
    "dataset-label.sh": ["a", "-m", "m"],
    "dataset-merge.sh": ["a", "b"],
    "dataset-records.sh": ["a", "b", "c"],
    "sync.sh": ["push", "host"],
    "eval": ["-m", "m"],
    "detect": ["-m", "m", "a.jpg"],
    "convert_uff": ["-m", "m"],
    "slice": ["a.tflite", "person"],
}
SCRIPTS = sorted(path.name for path in REPO.glob("*.sh"))
MODULES = sorted(path.stem for path in REPO.glob("*.py")) + ["todus.commands.doctor"]


def test_the_problems_are_numbered_and_each_has_a_measure_and_a_test():
    lines = [line for line in TABLE.read_text().splitlines() if re.match(r"\| \d", line)]
    rows = [ROW.fullmatch(line).groups() for line in lines]
    assert rows and [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    for number, _, measure, tests in rows:
        assert re.search(r"\b(prevents|detects|explains):", measure), number
        assert NAMED.search(tests), number


def test_each_test_that_the_table_names_exists():
    named = NAMED.findall(TABLE.read_text())
    texts = {file: (REPO / "tests" / file).read_text() for file, _ in named}
    missing = [pair for pair in named if "\ndef %s(" % pair[1] not in texts[pair[0]]]
    assert named and not missing


@pytest.mark.parametrize("name", [*REQUIREMENTS, "requirements-beam.txt", "requirements-fuzz.txt"])
def test_every_package_is_pinned_with_its_digest(name):
    text = re.sub(r"(?m)^#.*\n", "", (REPO / name).read_text()).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines
    for line in lines:
        assert re.match(r"[A-Za-z0-9._-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line), line


def test_the_recipe_in_gpu_md_omits_tensorflow_and_the_packages_that_its_build_installs(tmp_path):
    text = (REPO / "docs" / "gpu.md").read_text()
    recipe = re.search(r"(?ms)^grep -hoE.*?>/tmp/rest\.txt$", text).group()
    recipe = recipe.replace("/tmp/rest.txt", str(tmp_path / "rest.txt"))
    subprocess.run(["bash", "-c", recipe], check=True, cwd=str(REPO))
    left = set((tmp_path / "rest.txt").read_text().split())
    omitted = OF_TENSORFLOW | {"numpy", "protobuf", "setuptools", "six"}
    assert left == {"%s==%s" % pair for pair in pins().items() if pair[0] not in omitted}


def test_datasets_are_made_and_verified_without_tensorflow(tmp_path):
    blocked = tmp_path / "blocked"
    (blocked / "tensorflow").mkdir(parents=True)
    (blocked / "tensorflow" / "__init__.py").write_text("raise ImportError('no TensorFlow here')")
    voc_folder(tmp_path / "pictures")
    variables = {"TODUS_HOME": str(tmp_path), "PYTHON": sys.executable}
    environment = dict(os.environ, PYTHONPATH="%s:%s" % (blocked, REPO), **variables)
    for command in (
        [str(REPO / "dataset-voc.sh"), str(tmp_path / "pictures")],
        [sys.executable, "-m", "todus.commands.verify", "voc/pictures"],
        [sys.executable, "-m", "todus.commands.preview", "voc/pictures"],
    ):
        subprocess.run(command, check=True, cwd=str(tmp_path), env=environment)
    assert (tmp_path / "dataset" / "voc" / "pictures" / "preview.png").exists()


def test_images_are_downloaded_over_parallel_connections(tmp_path):
    """The server answers only when four requests are open at the same time."""
    together = threading.Barrier(4, timeout=20)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            together.wait()
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d/" % server.server_port
        wanted = [many.Wanted(url + name, tmp_path / name) for name in "01234567"]
        policy = transport.Policy(20, 1, 0)
        with Progress("images", None) as progress:
            missing = many.download_many(wanted, lambda data: "", 4, progress, 0, policy)
        server.shutdown()
    assert missing == [] and [each.path.read_bytes() for each in wanted] == [b"x"] * 8


def test_the_config_names_existing_files_and_the_number_of_images(prepared):
    model = paths.model(MODEL)
    config, dataset = state.resolved(model), state.dataset_of(model)
    (eval_reader,) = config.eval_input_reader
    for split, each in (("train", config.train_input_reader), ("val", eval_reader)):
        (pattern,) = each.tf_record_input_reader.input_path
        assert pattern == dataset.shard_pattern(split) and dataset.shards(split)
    assert config.eval_config.num_examples == len(list(reader.read_examples(dataset, "val"))) > 0


@pytest.mark.parametrize("command", SCRIPTS + MODULES)
def test_an_unknown_option_is_wrong_usage(command, home):
    """TensorFlow 1's own flags ignore unknown ones."""
    (home / "model" / "m" / "pretrained").mkdir(parents=True)
    (home / "model" / "m" / "pretrained" / "pipeline.config").write_text("")
    words = [str(REPO / command)] if command in SCRIPTS else [sys.executable, "-m", command]
    words += ARGUMENTS.get(command, []) + ["--num_eval_steps=5"]
    environment = dict(os.environ, PYTHON=sys.executable, PYTHONPATH=str(REPO))
    captured = {"capture_output": True, "text": True, "timeout": 60}
    result = subprocess.run(words, cwd=str(REPO), env=environment, **captured)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "num_eval_steps" in result.stderr or command == "sync.sh"
