"""docs/problems.md: every test that it names exists; and the tests of problems that no other file is about."""

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
from todus.fetching import many, transport
from todus.model import prepared as state
from todus.progress import Progress

TABLE = REPO / "docs" / "problems.md"
NAMED = re.compile(r"`((?:\w+/)?test_\w+\.py)::(test_\w+)`")
ROW = re.compile(r"\| (\d+) \| (.+) \| (.+) \| (.+) \|")

# Every command at the top, and doctor, with what it cannot do without.
NEEDED = {
    "dataset-csv.sh": ["a.csv", "images"],
    "dataset-voc.sh": ["a"],
    "dataset-merge.sh": ["a", "b"],
    "sync.sh": ["push", "host"],
}
NEEDED.update({"eval": ["-m", "m"], "detect": ["-m", "m", "a.jpg"], "convert_uff": ["-m", "m"]})
TOP = (
    [path.name for path in REPO.glob("*.sh")]
    + [path.stem for path in REPO.glob("*.py")]
    + ["todus.commands.doctor"]
)
COMMANDS = {name: NEEDED.get(name, []) for name in TOP}


def rows():
    return [
        ROW.fullmatch(line) for line in TABLE.read_text().splitlines() if re.match(r"\| \d", line)
    ]


def test_the_table_has_forty_problems_each_with_what_is_done_and_a_test():
    assert [int(row.group(1)) for row in rows()] == list(range(1, 41))
    for row in rows():
        assert re.search(r"\b(prevents|detects|explains):", row.group(3)), row.group(1)
        assert NAMED.search(row.group(4)), row.group(1)


def test_every_test_that_is_named_exists():
    named = NAMED.findall(TABLE.read_text())
    assert len(named) >= 40
    for file, name in named:
        path = REPO / "tests" / file
        assert path.exists() and re.search(r"^def %s\(" % name, path.read_text(), re.MULTILINE), (
            "%s::%s" % (file, name)
        )


def test_every_package_is_pinned_with_its_digest():
    for name in ("requirements.txt", "requirements-nodeps.txt"):
        text = re.sub(r"^#.*\n", "", (REPO / name).read_text(), flags=re.MULTILINE).replace(
            "\\\n", " "
        )
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) > 5
        for line in lines:
            assert re.match(r"[A-Za-z0-9._-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line), line


def test_the_recipe_for_other_builds_leaves_out_tensorflow_and_what_it_brings(tmp_path):
    """docs/gpu.md picks from the requirement files what NVIDIA's TensorFlow does not bring."""
    from todus.doctor.packages import OF_TENSORFLOW
    from todus.machine.environment import pins

    recipe = re.search(
        r"^grep -hoE.*?>/tmp/rest\.txt$",
        (REPO / "docs" / "gpu.md").read_text(),
        re.MULTILINE | re.DOTALL,
    ).group()
    subprocess.run(
        ["bash", "-c", recipe.replace("/tmp/rest.txt", str(tmp_path / "rest.txt"))],
        check=True,
        cwd=str(REPO),
    )
    left = set((tmp_path / "rest.txt").read_text().split())
    out = OF_TENSORFLOW | {"numpy", "protobuf", "setuptools", "six"}
    assert left == {"%s==%s" % pair for pair in pins().items() if pair[0] not in out}


def test_datasets_are_made_and_verified_without_tensorflow(tmp_path):
    (tmp_path / "blocked" / "tensorflow").mkdir(parents=True)
    (tmp_path / "blocked" / "tensorflow" / "__init__.py").write_text(
        "raise ImportError('no TensorFlow here')\n"
    )
    voc_folder(tmp_path / "pictures")
    environment = dict(
        os.environ,
        TODUS_HOME=str(tmp_path),
        PYTHON=sys.executable,
        PYTHONPATH=str(tmp_path / "blocked"),
    )
    for command in (
        [str(REPO / "dataset-voc.sh"), str(tmp_path / "pictures")],
        [sys.executable, "-m", "todus.commands.verify", "voc/pictures"],
        [sys.executable, "-m", "todus.commands.preview", "voc/pictures"],
    ):
        environment["PYTHONPATH"] = "%s:%s" % (tmp_path / "blocked", REPO)
        subprocess.run(
            command, check=True, cwd=str(tmp_path), env=environment, stdout=subprocess.DEVNULL
        )
    assert (tmp_path / "dataset" / "voc" / "pictures" / "preview.png").exists()


def test_images_come_over_many_connections_at_once(tmp_path):
    """The server answers only when four requests are there together."""
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
        wanted = [
            many.Wanted("http://127.0.0.1:%d/%d" % (server.server_port, n), tmp_path / str(n))
            for n in range(8)
        ]
        with Progress("images", None) as progress:
            missing = many.download_many(
                wanted, lambda data: "", 4, progress, 0, transport.Policy(20, 1, 0)
            )
        server.shutdown()
    assert missing == [] and [each.path.read_bytes() for each in wanted] == [b"x"] * 8


def test_the_config_reads_the_files_that_exist_and_counts_every_image(prepared):
    model = paths.model(MODEL)
    config, dataset = state.resolved(model), state.dataset_of(model)
    (eval_reader,) = config.eval_input_reader
    for split, each in (("train", config.train_input_reader), ("val", eval_reader)):
        (pattern,) = each.tf_record_input_reader.input_path
        assert pattern == dataset.shard_pattern(split) and dataset.shards(split)
    assert config.eval_config.num_examples == len(list(reader.read_examples(dataset, "val"))) > 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_an_option_that_there_is_not_is_wrong_usage(command, home):
    """TensorFlow 1's own flags ignore what they do not know."""
    (home / "model" / "m" / "pretrained").mkdir(parents=True)
    (home / "model" / "m" / "pretrained" / "pipeline.config").write_text("")
    words = [str(REPO / command)] if command.endswith(".sh") else [sys.executable, "-m", command]
    words += COMMANDS[command] + ["--num_eval_steps=5"]
    environment = dict(os.environ, PYTHON=sys.executable, PYTHONPATH=str(REPO))
    result = subprocess.run(
        words, cwd=str(REPO), env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "num_eval_steps" in result.stderr or command == "sync.sh"
