import pytest
from hypothesis import given
from hypothesis import strategies as st

from todus import categories
from todus.errors import TodusError, UsageError

COCO = categories.bundled("coco")


def test_coco_has_80_classes_with_ids_from_1_to_90_and_gaps():
    assert len(COCO) == 80 and min(COCO) == 1 and max(COCO) == 90 and 12 not in COCO
    assert COCO[17] == "cat" and COCO[23] == "bear"


def test_a_label_map_of_many_megabytes_is_an_error_at_once(tmp_path):
    path = tmp_path / "map.pbtxt"
    path.write_text('item { id: 1 name: "cat" }\n' * 200000)
    with pytest.raises(TodusError, match="more than 4 MB"):
        categories.read_label_map(path)


def test_open_images_has_601_classes_with_boxes():
    assert len(categories.bundled("openimages")) == 601


@pytest.mark.parametrize(
    "text",
    [
        "traffic_light person",
        '"traffic light" person',
        "traffic light, person",
        "Traffic_Light PERSON",
        "person traffic light",
        "person,traffic-light,",
    ],
)
def test_a_name_of_two_words_can_be_written_in_several_ways(text):
    assert categories.choose(text, COCO, "COCO") == {1: "person", 10: "traffic light"}


@pytest.mark.parametrize("text", ["boat person", "person boat"])
def test_the_order_typed_does_not_change_the_label_map(text):
    chosen = categories.choose(text, COCO, "COCO")
    assert categories.renumbered(chosen) == {1: "person", 2: "boat"}


def test_the_message_for_an_unknown_name_lists_the_nearest_known_ones():
    with pytest.raises(UsageError, match='no class "girafe" in COCO; did you mean giraffe'):
        categories.choose("girafe", COCO, "COCO")


def test_names_are_read_from_a_file_with_comments_and_blank_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# animals\nbear\n\n  giraffe \n", encoding="utf-8")
    assert list(categories.choose("@%s" % path, COCO, "COCO").values()) == ["bear", "giraffe"]
    with pytest.raises(UsageError, match="cannot be read"):
        categories.choose("@%s/none" % tmp_path, COCO, "COCO")


@pytest.mark.parametrize("text", ["", "  ", ",", ", ,"])
def test_an_empty_list_of_names_is_a_usage_error(text):
    with pytest.raises(UsageError, match="CATEGORIES is empty"):
        categories.choose(text, COCO, "COCO")


@given(st.sets(st.sampled_from(sorted(COCO.values())), min_size=1), st.randoms())
def test_names_are_read_with_commas_underscores_quotes_or_spaces(names, random):
    names = list(names)
    random.shuffle(names)
    for text in (
        ",".join(names),
        " ".join(name.replace(" ", "_") for name in names),
        " ".join('"%s"' % name for name in names),
        " ".join(names),
    ):
        assert set(categories.choose(text, COCO, "COCO").values()) == set(names)


@given(st.text().filter(lambda text: not text.strip().startswith("@")))
def test_any_text_selects_known_classes_or_is_a_usage_error(text):
    try:
        chosen = categories.choose(text, COCO, "COCO")
    except UsageError as error:
        assert str(error)
    else:
        assert chosen and chosen.items() <= COCO.items()


def test_a_written_label_map_is_read_unchanged(tmp_path):
    names = {1: "person", 2: 'a "quoted" name', 7: "größe", 9: "back\\slash"}
    categories.write_label_map(tmp_path / "map.pbtxt", names)
    assert categories.read_label_map(tmp_path / "map.pbtxt") == names


@pytest.mark.parametrize(
    "text, message",
    [
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "unique"),
        ("item { id: 0 name: 'a' }", "1 or more"),
        ("item { id: 1 name: 'a'", "is not a label map"),
        ("", "has no item"),
        ("<html>", "is not a label map"),
        ("item { id: 1 }", "with a name"),
    ],
)
def test_a_broken_label_map_is_an_error(tmp_path, text, message):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    with pytest.raises(TodusError, match=message):
        categories.read_label_map(path)


def test_the_display_name_in_a_label_map_is_the_class_name(tmp_path):
    path = tmp_path / "map.pbtxt"
    path.write_text("item { name: '/m/01g317' id: 1 display_name: 'person' }")
    assert categories.read_label_map(path) == {1: "person"}
