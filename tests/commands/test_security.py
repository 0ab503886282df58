"""Hostile names, archives and annotations are harmless to files, shells, HTML pages and terminals.

fetching/test_archives.py has more archives, security.bats the shell.
"""

import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tarfile
from html.parser import HTMLParser

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import own_images as own
from tests.helpers.places import MODEL, ZOO
from todus import categories, files, paths, variables
from todus.command import run, say
from todus.commands import model as model_command
from todus.commands import preview
from todus.dataset.sources import cloud, openimages_site, voc
from todus.errors import TodusError
from todus.model import pipeline, zoo
from todus.report import page

NAMES = ["<script>alert(1)</script>", '" onerror="x', "'; rm -rf ~; '", "$(touch pwned)", "`id`"]
NAMES += [
    "a\\",
    'b"c',
    "</style>",
    "{{7*7}}",
    "%s%n",
    "item { id: 9 }",
    "#",
    "=1+1",
    "-rf",
    "../../x",
]
NAMES += ['"\n}\nitem {\n  id: 99\n  name: "x', "\x1b]0;owned\x07", "\x9b2J"]
ARCHIVE = str(ZOO / (MODEL + ".tar.gz"))


def has_escapes(text: str) -> bool:
    return any(ord(each) < 32 and each not in "\n\t" or 127 <= ord(each) < 160 for each in text)


@pytest.fixture
def named(tmp_path, monkeypatch, capsys):
    """The dataset cloud/d, whose classes have hostile names, and the output of its command."""
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="d")
    folder, boxes = tmp_path / "in", {}
    for index, name in enumerate(NAMES + NAMES):
        image = own.save(folder / ("i%d.jpg" % index), index)
        boxes[image.name] = [{"x": 0.1, "y": 0.2, "x2": 0.6, "y2": 0.7, "label": name}]
    content = {"type": "localization", "labels": NAMES, "annotations": boxes}
    own.write(folder / "_annotations.json", json.dumps(content))
    assert run("dataset-cloud", cloud.main, [str(folder)]) == 0
    return paths.dataset("cloud/d"), capsys.readouterr()


def test_hostile_class_names_become_names_without_escapes(named):
    dataset, output = named
    names = categories.read_label_map(dataset.label_map)
    assert len(names) == len(NAMES) and sorted(names) == list(range(1, len(NAMES) + 1))
    assert not any(has_escapes(name) or "\n" in name for name in names.values())
    assert not has_escapes(output.out + output.err)
    assert not has_escapes(dataset.manifest.read_text(encoding="utf-8"))


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)


def assert_harmless(page: str) -> None:
    found = Tags(page)
    assert "script" not in found.tags and "iframe" not in found.tags
    assert not [name for name in found.attributes if name.startswith("on")]
    assert page.count("</style>") == 1


def test_the_preview_page_escapes_names(named, capsys):
    dataset, _ = named
    assert run("preview", preview.main, ["cloud/d"]) == 0
    page = (dataset.folder / "preview.html").read_text(encoding="utf-8")
    assert_harmless(page)
    assert "&lt;script&gt;" in page
    assert not has_escapes(capsys.readouterr().out)


def test_the_report_escapes_names(limited_home, tmp_path, monkeypatch):
    monkeypatch.setenv("TODUS_HOME", str(tmp_path))
    model = paths.model(MODEL)
    shutil.copytree(str(limited_home / "model" / MODEL / "pretrained"), str(model.pretrained))
    picked = {"threshold": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    entry = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "drop"), 0.5)
    entry.update(title=NAMES[0], protocol=NAMES[0], bytes=1, images_per_second=0.5)
    entry.update(per_class=dict.fromkeys(NAMES, 0.5), thresholds=dict.fromkeys(NAMES, picked))
    files.write_json(model.folder / "eval.json", [dict(entry, score_threshold=0.1)])
    categories.write_label_map(model.limited_label_map, dict(enumerate(NAMES[:3], 1)))
    html = page.write(model).read_text(encoding="utf-8")
    assert_harmless(html)
    assert "&lt;script&gt;" in html


def test_a_model_can_be_prepared_for_hostile_class_names(named, capsys):
    argv = ["-m", "m", "-d", "cloud/d", "--archive", ARCHIVE]
    assert run("model", model_command.main, argv) == 0
    output = capsys.readouterr()
    assert not has_escapes(output.out + output.err)
    model = paths.model("m")
    assert pipeline.meta(pipeline.read(model.pipeline)).num_classes == len(NAMES)
    assert len(categories.read_label_map(model.limited_label_map)) == len(NAMES)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_every_class_name_is_read_back_from_a_label_map(texts):
    from object_detection.protos import string_int_label_map_pb2

    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    label_map = string_int_label_map_pb2.StringIntLabelMap()
    text_format.Merge(categories.label_map_text(dict(enumerate(texts, 1))), label_map)
    assert [item.name for item in label_map.item] == texts


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_path_is_read_back_from_a_pipeline_config(text):
    text = text.encode("utf-8", "replace").decode()
    config = pipeline.Config()
    config.train_input_reader.label_map_path = text
    again = pipeline.Config()
    text_format.Merge(pipeline.to_text(config), again)
    assert again == config


def test_control_characters_in_a_label_map_are_replaced(tmp_path):
    path = own.write(tmp_path / "map.pbtxt", 'item {\n  id: 1\n  name: "a\\nb\\x1b[2J"\n}\n')
    assert categories.read_label_map(path) == {1: "a b [2J"}


ENTITIES = {
    "file": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    "network": '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/e">]>',
    "inner": '<!DOCTYPE a [<!ENTITY e "cat">]>',
    "bomb": '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">%s<!ENTITY e "&i;">]>'
    % "".join('<!ENTITY %s "%s">' % (chr(98 + n), "&%s;" % chr(97 + n) * 10) for n in range(8)),
    "parameter": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p; <!ENTITY e "x">]>',
}


@pytest.mark.parametrize("kind", sorted(ENTITIES))
def test_xml_with_entities_is_left_out(kind, tmp_path, monkeypatch, capsys):
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="d", MAX_DROPPED="50")
    own.voc_folder(tmp_path / "in", 6)
    text = own.xml("i03.jpg", (40, 30), [("&e;", 5, 6, 25, 26)])
    own.write(tmp_path / "in" / "i03.xml", '<?xml version="1.0"?>' + ENTITIES[kind] + text)
    assert run("dataset-voc", voc.main, [str(tmp_path / "in")]) == 0
    assert "XML with entities" in capsys.readouterr().out
    assert list(own.label_map("voc/d").values()) == ["cat", "dog"]


def test_an_archive_with_a_hostile_member_is_refused_without_escapes(home, capsys):
    path = home / "a.tar.gz"
    with tarfile.open(str(path), "w:gz") as tar:
        member = tarfile.TarInfo("../\x1b[2J\nmodel: all is well")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    argv = ["-m", "m", "--archive", str(path), "--categories", "circle"]
    assert run("model", model_command.main, argv) == 1
    error = capsys.readouterr().err
    assert not has_escapes(error) and error.count("\n") == 1 and "outside" in error


def test_messages_have_no_terminal_escapes(capsys):
    say("one \x1b[31mred\x9b\ntwo")
    assert capsys.readouterr().err == "one  [31mred\ntwo\n"


def test_the_next_command_quotes_paths_for_the_shell(home, monkeypatch, capsys):
    folder = home / "model" / "it's $(x)"
    monkeypatch.setenv("TODUS_HOME", str(folder))
    argv = ["-m", "m", "--as", "m", "--archive", ARCHIVE, "--categories", "circle"]
    assert run("model", model_command.main, argv) == 0
    typed = re.search("next: (export .*) CHECKPOINT_PREFIX", capsys.readouterr().out).group(1)
    command = typed + '; printf %s "$MODEL_DIR"'
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode() == str(folder / "model" / "m")


def test_downloads_use_https_where_the_server_has_it():
    assert variables.defaults("model")["ZOO_URL"].startswith("https://")
    values = [value for value in vars(openimages_site).values() if isinstance(value, str)]
    addresses = [value for value in values if value.startswith("http")]
    assert addresses and all(value.startswith("https://") for value in addresses)


def test_an_archive_with_another_sha256_than_the_zoos_is_refused_and_removed(tmp_path):
    known = next(entry for entry in zoo.table() if entry.sha256)
    path = own.write(tmp_path / "a.tar.gz", "another")
    with pytest.raises(TodusError, match="SHA-256"):
        zoo.check_published(known.name, path)
    assert not path.exists()


def test_pinned_digests_are_distinct_sha256_digests():
    pinned = [entry.sha256 for entry in zoo.table() if entry.sha256]
    assert len(set(pinned)) == len(pinned) >= 9
    assert all(len(digest) == 64 and int(digest, 16) for digest in pinned)


def test_temporary_files_are_private_and_those_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / (".x.part-%d" % ended.pid)
    left_folder = tmp_path / (".x.scratch-%s-%d" % (socket.gethostname(), ended.pid))
    left_folder.mkdir()
    running = tmp_path / ".x.part-1"
    elsewhere = tmp_path / (".x.scratch-elsewhere-%d" % ended.pid)
    for path in (left, running, elsewhere):
        path.write_bytes(b"x")
    with files.scratch(tmp_path / "x") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not left.exists() and not left_folder.exists()
    assert sorted(tmp_path.iterdir()) == [running, elsewhere]


def test_outputs_are_not_writable_by_others(tmp_path, monkeypatch, capsys):
    own.clean_environment(monkeypatch, tmp_path / "home", NAME="d")
    before = os.umask(0o022)
    try:
        assert voc.main([str(own.voc_folder(tmp_path / "in", 6))]) == 0
    finally:
        os.umask(before)
    made = list((tmp_path / "home").rglob("*"))
    assert made and not [path for path in made if path.stat().st_mode & 0o022]


def test_the_tflite_converter_does_not_run_the_name_of_a_folder(
    exported_home, tmp_path, monkeypatch
):
    """TensorFlow puts the names of its temporary files into a shell command."""
    from todus.export import tflite

    home = tmp_path / "a $(touch pwned);touch pwned 'x"
    shutil.copytree(str(exported_home / "model" / MODEL), str(home / "model" / MODEL))
    monkeypatch.setenv("TODUS_HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.chdir(str(tmp_path))
    path, _ = tflite.convert(paths.model(MODEL))
    assert path.read_bytes() == (exported_home / "model" / MODEL / path.name).read_bytes()
    assert not list(tmp_path.rglob("pwned*")) and not list(home.glob("tmp*"))
    assert not list(home.rglob(".*"))
