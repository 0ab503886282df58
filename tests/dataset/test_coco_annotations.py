"""COCO's annotations read as a stream, and the choice of a dataset's images from them."""

import functools
import io
import json
import math
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from todus.dataset import choose
from todus.dataset.annotations import Annotations, Box, Image, clean, tally
from todus.dataset.sources import coco_annotations, coco_json
from todus.errors import TodusError

NAMES = {1: "person", 17: "cat"}
CATEGORIES = [{"id": 17, "name": "cat", "supercategory": "animal"}, {"id": 1, "name": "person"}]
POLYGON = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
examples = functools.partial(
    settings,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def image(identity, **more):
    name = "%012d.jpg" % identity
    content = {"id": identity, "file_name": name, "width": 640, "height": 480}
    return {**content, "coco_url": "http://x/train2017/" + name, **more}


def box(identity, image_id, category_id, **more):
    content = {"id": identity, "image_id": image_id, "category_id": category_id}
    values = {"bbox": [1, 2, 3.5, 4], "area": 9.5, "iscrowd": 0, "segmentation": POLYGON}
    return {**content, **values, **more}


def write(tmp_path, document):
    path = tmp_path / "instances.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def document(**more):
    return {
        "info": {"a": {"b": []}},
        "licenses": [{"id": 1}],
        "images": [image(5), image(6), image(7)],
        "annotations": [box(1, 5, 1), box(2, 5, 17), box(3, 7, 17, iscrowd=1)],
        "categories": CATEGORIES,
        **more,
    }


def read(tmp_path, content, wanted=(17,), masks=False):
    return coco_annotations.read(write(tmp_path, content), NAMES, set(wanted), masks)


def test_the_wanted_boxes_and_all_images_are_read(tmp_path):
    found = read(tmp_path, document())
    assert found.categories == {17: "cat"}
    images = [(each.id, each.file_name, len(each.boxes)) for each in found.images]
    name = "00000000000%d.jpg"
    assert images == [(5, name % 5, 1), (6, name % 6, 0), (7, name % 7, 1)]
    assert {(each.width, each.height) for each in found.images} == {(640, 480)}
    assert found.images[0].boxes == [Box(17, 2.0, 1.0, 6.0, 4.5, 9.5, id=2)]
    assert found.images[2].boxes[0].is_crowd
    assert not found.dropped


def test_segmentations_are_kept_only_with_masks(tmp_path):
    runs = {"counts": [1, 2, 3], "size": [480, 640]}
    content = document()
    content["annotations"].append(box(4, 6, 17, segmentation=runs))
    found = read(tmp_path, content, masks=True)
    assert [each.boxes[0].mask for each in found.images] == [POLYGON, runs, POLYGON]
    assert read(tmp_path, content).images[1].boxes[0].mask is None


@pytest.mark.parametrize(
    "order",
    [["categories", "annotations", "images"], ["annotations", "images", "info", "categories"]],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_the_order_and_the_spaces_do_not_matter(tmp_path, order, indent):
    content = document()
    text = json.dumps({**{key: content[key] for key in order}, **content}, indent=indent)
    assert read(tmp_path, text).images == read(tmp_path, content).images


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_the_chunks_in_which_a_file_is_read_do_not_matter(tmp_path, monkeypatch, chunk):
    strange = {"} ]": '"}', "list": [[1], [{"}": "]"}]]}
    content = document(strange=strange, more=[1, [2]], word=None, number=-1.5e3, text='a\\"}')
    whole = read(tmp_path, content)
    monkeypatch.setattr(coco_json, "CHUNK", chunk)
    assert read(tmp_path, content) == whole


def test_a_byte_order_mark_is_skipped(tmp_path):
    found = read(tmp_path, "\ufeff" + json.dumps(document()))
    assert len(found.images) == 3 and sum(len(each.boxes) for each in found.images) == 2


def test_braces_in_strings_end_no_element(tmp_path):
    content = document()
    content["images"][0]["note"] = 'a } b "}, { \\'
    content["annotations"][1]["attributes"] = {"x": {"y": "}"}}
    assert read(tmp_path, content).images == read(tmp_path, document()).images


def test_unusable_elements_are_counted(tmp_path):
    content = document()
    content["annotations"] += [
        box(4, 99, 17),
        box(5, 5, 3),
        box(6, 5, 17, bbox=[1, 2, 3]),
        box(7, 5, 17, bbox=None),
    ]
    content["images"] += [
        image(5),
        image(8, file_name="../x.jpg"),
        image(9, width=0),
        image(10, file_name=None),
    ]
    assert read(tmp_path, content).dropped == {
        coco_annotations.NO_IMAGE: 1,
        coco_annotations.NO_CLASS: 1,
        coco_annotations.NO_BOX: 2,
        coco_annotations.TWICE: 1,
        coco_annotations.FILE_NAME: 2,
        coco_annotations.NO_SIZE: 1,
    }


def test_nan_is_read_as_python_writes_it(tmp_path):
    content = document()
    content["annotations"][1]["bbox"][0] = float("nan")
    assert math.isnan(read(tmp_path, content).images[0].boxes[0].xmin)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_an_error(tmp_path, share):
    text = json.dumps(document())
    with pytest.raises(TodusError, match="not complete COCO JSON.*at byte [0-9]+.*remove it"):
        read(tmp_path, text[: int(len(text) * share)])


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "<html></html>",
        "{",
        "{}",
        '{"images": {}}',
        '{"images": [1, 2]}',
        '{"images": [{"id" 1}]}',
        "\0" * 100,
    ],
)
def test_text_that_is_not_coco_json_is_an_error(tmp_path, text):
    with pytest.raises(TodusError, match="instances.json"):
        read(tmp_path, text)


def test_other_categories_than_those_given_are_an_error(tmp_path):
    with pytest.raises(TodusError, match="other categories"):
        coco_annotations.read(write(tmp_path, document()), {1: "person"}, {1})


def test_categories_are_found_wherever_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_annotations, "TAIL", 150)
    content = document()
    first = {"categories": CATEGORIES, **content}
    content["annotations"][-1]["categories"] = "no"
    for each in (document(), first, {**first, "z": {"categories": [1]}}):
        assert coco_annotations.read_categories(write(tmp_path, each)) == NAMES


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [{"id": 0, "name": "x"}],
        [{"id": 1, "name": " "}],
        [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
        [{"name": "a"}],
    ],
)
def test_bad_categories_are_an_error(tmp_path, bad):
    with pytest.raises(TodusError, match="categor"):
        coco_annotations.read_categories(write(tmp_path, document(categories=bad)))


NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False, width=32)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda each: (
        st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=4), each, max_size=4)
    ),
    max_leaves=12,
)


@examples(max_examples=120)
@given(
    elements=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=5), max_size=6),
    other=JSON,
    ascii=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_the_streamed_elements_are_those_of_a_whole_parse(elements, other, ascii, chunk):
    value = {"other": other, "wanted": elements, "last": other}
    text = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    stream = coco_json.JsonStream(io.BytesIO(text))
    with mock.patch.object(coco_json, "CHUNK", chunk):
        found = [list(stream.elements()) for key in stream.members() if key == "wanted"]
    assert found == [elements]


AS_IN_COCO = (
    '{"segmentation": [[510.66,423.01,511.72,420.03]],"area": 702.1057499999998,"iscrowd": 0,'
    '"image_id": 6,"bbox": [473.07,395.93,38.65,28.67],"category_id": %d,"id": %d},'
)


def test_the_pattern_matches_boxes_of_unwanted_classes_as_coco_writes_them():
    text = (AS_IN_COCO % (18, 1768) + "\n " + AS_IN_COCO % (1, 2)).encode()
    assert coco_annotations.boxes_pattern({1, 18}).match(text).end() == len(text)
    assert coco_annotations.boxes_pattern({18}).match(text).end() == text.index(b"\n")
    assert not coco_annotations.boxes_pattern({8, 1}).match(text)


@examples(max_examples=80)
@given(
    chosen=st.lists(st.sampled_from([1, 17, 3, 171]), max_size=90),
    wanted=st.sets(st.sampled_from([1, 17])),
    chunk=st.sampled_from([1, 100, 5000]),
)
def test_the_wanted_boxes_are_read_however_many_are_skipped(tmp_path, chosen, wanted, chunk):
    boxes = "".join(AS_IN_COCO % (category, number) for number, category in enumerate(chosen))
    rest = json.dumps({"images": [image(6)], "categories": CATEGORIES})
    text = '{"annotations": [%s], %s' % (boxes.rstrip(","), rest[1:])
    with mock.patch.object(coco_json, "CHUNK", chunk):
        found = read(tmp_path, text, wanted)
    kept = [number for number, category in enumerate(chosen) if category in wanted]
    unknown = sum(category not in NAMES for category in chosen)
    assert [each.id for each in found.images[0].boxes] == kept
    assert found.dropped[coco_annotations.NO_CLASS] == unknown


@examples(max_examples=200)
@given(at=st.integers(0, 10**6), value=st.binary(min_size=0, max_size=2))
def test_a_damaged_byte_is_harmless_or_an_error_that_names_the_file(tmp_path, at, value):
    path = tmp_path / "damaged.json"
    text = json.dumps(document()).encode()
    at %= len(text)
    path.write_bytes(text[:at] + value + text[at + 1 :])
    try:
        coco_annotations.read(path, NAMES, {17})
    except TodusError as error:
        assert "damaged.json" in str(error)


@examples(max_examples=150)
@given(
    kind=st.sampled_from(["images", "annotations"]),
    key=st.sampled_from(sorted({*image(1), *box(1, 1, 1)} - {"segmentation"})),
    value=JSON,
)
def test_a_strange_value_is_counted_or_harmless(tmp_path, kind, key, value):
    content = document()
    content[kind][0][key] = value
    found = clean(read(tmp_path, content, (1, 17)))
    assert len(found.images) + sum(found.dropped.values()) >= 3


def images(*classes):
    return [
        Image(index, "%d.jpg" % index, 9, 9, [Box(each, 0, 0, 1, 1, 1) for each in found])
        for index, found in enumerate(classes)
    ]


def test_max_images_keeps_every_class_and_its_share():
    listed = images(*[[1]] * 800, *[[2]] * 190, *[[1, 3]] * 10)
    kept = choose.proportional(listed, 100, 0)
    assert len(kept) == 100
    assert tally(kept) == {1: (81, 81), 2: (19, 19), 3: (2, 2)}
    assert kept == choose.proportional(list(reversed(listed)), 100, 0)
    assert kept != choose.proportional(listed, 100, 1)


@examples(max_examples=200)
@given(
    sizes=st.dictionaries(st.integers(1, 90), st.integers(1, 500), min_size=1, max_size=12),
    most=st.integers(1, 3000),
)
def test_shares_are_whole_places_within_each_size_and_at_least_one_if_possible(sizes, most):
    most = min(most, sum(sizes.values()))
    places = choose.shares(sizes, most)
    assert sum(places.values()) == most
    assert all(0 <= places[key] <= size for key, size in sizes.items())
    assert sum(places[key] > 0 for key in sizes) == min(most, len(sizes))


def test_negatives_are_drawn_from_the_images_without_a_box():
    found = Annotations({1: "a"}, images([1], [], [], [], [1]))
    assert [each.id for each in choose.choose(found, 0, 0, 0).images] == [0, 4]
    assert [each.id for each in choose.choose(found, 0, choose.ALL, 0).images] == [0, 1, 2, 3, 4]
    some = [each.id for each in choose.choose(found, 0, 2, 0).images]
    assert len(some) == 4 and {0, 4} < set(some)
    assert len(choose.choose(found, 1, 2, 0).images) == 3
