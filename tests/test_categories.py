import pytest
from hypothesis import given
from hypothesis import strategies as st

from todus import categories
from todus.errors import TodusError, UsageError

COCO = categories.bundled("coco")


def test_coco_has_its_80_classes_at_ids_1_to_90_with_gaps():
    assert len(COCO) == 80 and min(COCO) == 1 and max(COCO) == 90 and 12 not in COCO
    assert COCO[17] == "cat" and COCO[23] == "bear"


def test_open_images_has_601_boxable_classes():
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
def test_a_name_of_two_words_can_be_typed_in_each_of_the_usual_ways(text):
    assert categories.choose(text, COCO, "COCO") == {1: "person", 10: "traffic light"}


def test_the_order_typed_does_not_change_the_label_map():
    one = categories.renumbered(categories.choose("boat person", COCO, "COCO"))
    assert (
        one
        == categories.renumbered(categories.choose("person boat", COCO, "COCO"))
        == {1: "person", 2: "boat"}
    )


def test_an_unknown_name_gets_the_nearest_known_ones():
    with pytest.raises(UsageError, match='no class "girafe" in COCO; did you mean giraffe'):
        categories.choose("girafe", COCO, "COCO")


def test_names_come_from_a_file_with_comments_and_blank_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# animals\nbear\n\n  giraffe \n", encoding="utf-8")
    assert list(categories.choose("@%s" % path, COCO, "COCO").values()) == ["bear", "giraffe"]
    with pytest.raises(UsageError, match="cannot be read"):
        categories.choose("@%s/none" % tmp_path, COCO, "COCO")


@pytest.mark.parametrize("text", ["", "  ", ",", ", ,"])
def test_no_name_at_all_is_an_error(text):
    with pytest.raises(UsageError):
        categories.choose(text, COCO, "COCO")


@given(st.sets(st.sampled_from(sorted(COCO.values())), min_size=1), st.randoms())
def test_any_choice_survives_any_way_of_writing_it(names, random):
    names = list(names)
    random.shuffle(names)
    for text in (
        ",".join(names),
        " ".join(name.replace(" ", "_") for name in names),
        " ".join('"%s"' % name for name in names),
        " ".join(names),
    ):
        assert set(categories.choose(text, COCO, "COCO").values()) == set(names)


@given(st.text())
def test_any_text_is_a_choice_or_one_clear_error(text):
    if text.strip().startswith("@"):
        return
    try:
        categories.choose(text, COCO, "COCO")
    except UsageError as error:
        assert str(error)


def test_a_label_map_is_read_as_it_was_written(tmp_path):
    names = {1: "person", 2: 'a "quoted" name', 7: "größe", 9: "back\\slash"}
    categories.write_label_map(tmp_path / "map.pbtxt", names)
    assert categories.read_label_map(tmp_path / "map.pbtxt") == names


@pytest.mark.parametrize(
    "text, said",
    [
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "each once"),
        ("item { id: 0 name: 'a' }", "1 or more"),
        ("item { id: 1 name: 'a'", "is not a label map"),
        ("", "has no item"),
        ("<html>", "is not a label map"),
        ("item { id: 1 }", "with a name"),
    ],
)
def test_a_broken_label_map_is_one_clear_error(tmp_path, text, said):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    with pytest.raises(TodusError, match=said):
        categories.read_label_map(path)


def test_display_names_are_the_names_as_in_the_zoo_s_own_label_maps(tmp_path):
    path = tmp_path / "map.pbtxt"
    path.write_text("item { name: '/m/01g317' id: 1 display_name: 'person' }")
    assert categories.read_label_map(path) == {1: "person"}
