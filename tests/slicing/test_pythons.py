"""The slice works under every Python that it promises, without TensorFlow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import finished_files
from tests.helpers.places import REPO

VERSIONS = ("3.9", "3.11", "3.13")  # the other tests run under 3.7


def python(version):
    """pyenv's Python of a version; None where there is none."""
    for root in (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")):
        found = sorted(Path(root).glob("versions/%s.*/bin/python%s" % (version, version)))
        if found:
            return str(found[-1])
    return None


@pytest.fixture(scope="module")
def packages(once):
    """packages(VERSION): a folder with the packages of `make slice`, without ONNX's."""

    def folder_of(version):
        text = (REPO / "requirements-slice.txt").read_text()
        rows = re.findall(r"(?ms)^(\S+==.*?)(?=^\S|\Z)", text)
        wanted = [row for row in rows if row.startswith(("numpy", "flatbuffers", "protobuf"))]

        def make(folder):
            (folder / "requirements.txt").write_text("".join(wanted))
            command = [python(version), "-m", "pip", "install", "-q", "--require-hashes"]
            command += ["--only-binary", ":all:", "--no-deps", "--no-compile", "--no-input"]
            command += ["--disable-pip-version-check", "--target", str(folder / "packages")]
            command += ["-r", str(folder / "requirements.txt")]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            (folder / "log").write_bytes(done.stdout)

        folder = once("slice-" + version, make)
        if not (folder / "packages" / "numpy").exists():
            pytest.skip(
                "the packages cannot be installed: %s" % (folder / "log").read_text()[-200:]
            )
        return folder / "packages"

    return folder_of


def limited(folder, program, path):
    """The file that a Python writes, with these folders on its path."""
    (folder / "detect.tflite").write_bytes(finished_files.detector("int8"))
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    code = "from todus.slicing import proof; proof.python_for = lambda kind: None; "
    code += "from todus.slicing.command import entry; entry()"
    done = subprocess.run(
        [program, "-c", code, "detect.tflite", "g b"],
        cwd=str(folder),
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path))),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "detect-limited.tflite").read_bytes()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The file that the Python of the tests writes."""
    return limited(tmp_path_factory.mktemp("own"), sys.executable, [REPO])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_file_is_written_under_each_python(version, packages, own, tmp_path):
    if python(version) is None:
        pytest.skip("no Python %s here" % version)
    made = limited(tmp_path, python(version), [REPO, packages(version)])
    if made == own:
        return
    pixels = finished_files.noise(own)
    outputs = [finished_files.run(data, pixels) for data in (own, made)]
    for one, other in zip(*outputs):
        assert (one == other).all()
