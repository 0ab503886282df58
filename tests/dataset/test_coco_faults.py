"""COCO builds that are interrupted by server faults, signals, or another build."""

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from demo.server import Fault, Server
from tests.helpers.datasets import CLASSES, RARE, contents
from todus import paths
from todus.errors import TodusError

pytest_plugins = ["tests.helpers.coco_site"]

KILLS = int(os.environ.get("TODUS_TEST_KILLS", "6"))

ANNOTATIONS = "/annotations/annotations_trainval2017.zip"
TRAIN_ZIP, TRAIN_IMAGES = "/zips/train2017.zip", "/train2017/*.jpg"
FAULTS = {
    "cut at once": {"cut": 0},
    "cut": {"cut": 3000},
    "stall": {"cut": 3000, "stall": 20},
    "too short a length": {"length": 3000},
    "too long a length": {"length": 10**8},
    "503": {"status": 503},
    "web page": {"page": True},
    "other content": {"content": bytes(range(256)) * 40},
    "other content, cut": {"content": bytes(range(256)) * 40, "cut": 5000},
}


@pytest.fixture(scope="session")
def undisturbed(drawn, tmp_path_factory):
    """undisturbed(KIND, CATEGORIES) is the contents of a dataset made without interruption."""

    @functools.lru_cache(maxsize=None)
    def build(kind, classes):
        home = tmp_path_factory.mktemp("undisturbed")
        with Server(drawn) as server:
            process = start(server, kind, CATEGORIES=classes, TODUS_HOME=str(home))
            assert process.wait() == 0
        return contents(paths.Dataset(home / "dataset" / "mscoco" / "it"))

    return build


def start(site, kind="limited", **variables):
    """Starts a build in a process of its own, with a pipe as stderr."""
    environment = dict(
        os.environ, PYTHONPATH=str(paths.REPO), COCO_URL=site.url, NAME="it", **variables
    )
    return subprocess.Popen(
        [sys.executable, "-m", "todus.commands.dataset", "coco", kind],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # A test run in the background ignores Ctrl-C, and so would the build.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("times", [3, 50])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "path, kind, classes",
    [
        (ANNOTATIONS, "limited", RARE),
        (TRAIN_ZIP, "complete", "all"),
        (TRAIN_IMAGES, "limited", RARE),
    ],
)
def test_after_any_fault_a_rerun_gives_the_same_bytes(
    make, site, undisturbed, path, kind, classes, fault, times
):
    expected = undisturbed(kind, classes)
    site.faults.append(Fault(path, times=times, **FAULTS[fault]))
    try:
        make(kind, CATEGORIES=classes, NAME="it", RETRIES="2", TIMEOUT="0.3")
    except TodusError as error:
        assert site.url in str(error) or "are missing" in str(error)
        assert contents(paths.mscoco_dataset("it")) == {}
        site.faults.clear()
        make(kind, CATEGORIES=classes, NAME="it")
    assert contents(paths.mscoco_dataset("it")) == expected
    left = [path.name for path in paths.raw_data().rglob(".*")]
    assert not [name for name in left if name.endswith(("part", "part.json"))]


def test_a_zip_that_changes_on_the_server_between_two_runs_is_fetched_from_its_start(
    make, site, undisturbed
):
    old = bytearray(site.file(TRAIN_ZIP).read_bytes())
    old[5000:6000] = bytes(1000)
    site.faults += [
        Fault(TRAIN_ZIP, content=bytes(old), cut=20000, times=1, skip=1),
        Fault(TRAIN_ZIP, status=503, skip=1),
    ]
    with pytest.raises(TodusError, match="answers 503"):
        make("complete", NAME="it", RETRIES="2")
    site.faults.clear()
    assert contents(make("complete", NAME="it")) == undisturbed("complete", "all")


def test_a_zip_with_a_damaged_image_is_fetched_again(make, site, undisturbed):
    data = bytearray(site.file(TRAIN_ZIP).read_bytes())
    data[5000] ^= 255
    site.faults.append(Fault(TRAIN_ZIP, content=bytes(data), times=1, skip=1))
    assert contents(make("complete", NAME="it")) == undisturbed("complete", "all")


def test_a_damaged_annotations_zip_in_raw_data_is_fetched_again(make, site, home, undisturbed):
    raw = home / "dataset" / "mscoco" / "raw-data"
    raw.mkdir(parents=True)
    data = bytearray(site.file(ANNOTATIONS).read_bytes())
    data[200] ^= 255
    (raw / "annotations_trainval2017.zip").write_bytes(bytes(data))
    assert contents(make(CATEGORIES=RARE, NAME="it")) == undisturbed("limited", RARE)


def test_kill_9_at_any_moment_leaves_the_old_dataset_or_the_new(site, home, undisturbed):
    """TODUS_TEST_KILLS sets how often. Each build differs from the last and so has work to do."""
    expected = {classes: undisturbed("limited", classes) for classes in (RARE, CLASSES)}
    dataset = paths.mscoco_dataset("it")
    chance = random.Random(os.environ.get("TODUS_TEST_SEED", "0"))
    began = time.monotonic()
    assert start(site, CATEGORIES=RARE).wait() == 0
    usual = time.monotonic() - began
    killed = 0
    for number in range(KILLS):
        if number % 2:
            shutil.rmtree(str(paths.raw_data() / "train2017"), ignore_errors=True)
        classes = CLASSES if number % 2 else RARE
        process = start(site, CATEGORIES=classes, JOBS="2", SHARDS="3")
        time.sleep(chance.uniform(0.3, 1.2) * usual)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        for classes in (RARE, CLASSES):
            process = start(site, CATEGORIES=classes)
            errors = process.communicate()[1].decode()
            assert process.returncode == 0, errors
            assert contents(dataset) == expected[classes]
    assert killed, "every build ended before it was killed"
    left = {path.name for path in (home / "dataset" / "mscoco").iterdir()}
    assert left == {"it", "raw-data"}


def test_of_two_builds_at_once_the_second_fails_with_the_pid_of_the_first(site, home):
    site.faults.append(Fault(ANNOTATIONS, stall=20))
    first = start(site, TIMEOUT="60")
    try:
        for _ in range(200):
            if ANNOTATIONS in site.requests:
                break
            time.sleep(0.05)
        second = start(site)
        errors = second.communicate()[1].decode()
        folder = paths.mscoco_dataset("it").folder
        assert second.returncode == 1
        last = errors.strip().splitlines()[-1]
        assert last.startswith("dataset: %s is in use by PID %d on " % (folder, first.pid))
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize("path", [ANNOTATIONS, TRAIN_IMAGES, "/val2017/*.jpg"])
def test_ctrl_c_is_one_line_and_the_next_run_resumes(site, undisturbed, path):
    site.faults.append(Fault(path, cut=1000, stall=20))
    process = start(site, CATEGORIES=RARE, TIMEOUT="60")
    while not site.faults[0].seen:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1].decode()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "dataset: interrupted; run the same command again to resume"
    assert "Traceback" not in errors
    site.faults.clear()
    assert start(site, CATEGORIES=RARE).wait() == 0
    assert contents(paths.mscoco_dataset("it")) == undisturbed("limited", RARE)
