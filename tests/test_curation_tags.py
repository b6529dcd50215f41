"""Tags that people write are read as decisions, tolerantly, and nothing that they write is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.curation.originals import Names, Originals
from distill.curation.tags import Notes, merged, parse, remarks, sweeping, tags_of, understand
from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.core.store_decisions import DECISIONS, Decided
from tests import outcomes
from tests.made_stores import write

FIRST = "f" * 64


def _original(name: str) -> str:
    if name == "gone.jpg":
        raise InputError("no image has the name 'gone.jpg'")
    return FIRST


@pytest.mark.parametrize(
    ("tag", "decision", "note"),
    [
        ("ok", "ok", ""),
        (" OK ", "ok", ""),
        ("relabel", "relabel", ""),
        ("relabel: the left wheel", "relabel", "the left wheel"),
        ("Relabel :  the left: wheel ", "relabel", "the left: wheel"),
        ("drop:", "drop", ""),
        ("duplicate-of: IMG_12.jpg", "duplicate-of", "IMG_12.jpg"),
        ("Duplicate of IMG_12.jpg", "duplicate-of", "IMG_12.jpg"),
        ("duplicate_of", "duplicate-of", ""),
        ("split test", "split-test", ""),
        ("SPLIT_TEST : night", "split-test", "night"),
        ("drop\N{FULLWIDTH COLON}blurred", "drop", "blurred"),
        ("note: ask Ann", "note", "ask Ann"),
        ("note", "note", "note"),
        ("a nice one", "note", "a nice one"),
        ("why: no idea", "note", "why: no idea"),
        ("dropped", "note", "dropped"),
        ("ok then", "note", "ok then"),
        ("duplicated", "note", "duplicated"),
    ],
)
def test_a_tag_names_its_decision(tag: str, decision: str, note: str) -> None:
    assert parse(tag) == (decision, note)


def test_several_remarks_of_one_decision_stand_together() -> None:
    said = understand(["relabel: left", "relabel", "RELABEL: right; left", "blurry", "note: at night"], _original)
    assert said.decisions == {"relabel": ("right", "left"), "note": ("blurry", "at night")}
    assert not said.problems
    assert not said.refused


def test_a_tag_that_cannot_be_read_is_named_and_refused() -> None:
    said = understand(["duplicate-of: gone.jpg", "drop"], _original)
    assert said.decisions == {"drop": ()}
    assert said.refused == {"duplicate-of: gone.jpg"}
    assert said.unclear == {"duplicate-of"}
    assert said.problems == ("tag 'duplicate-of: gone.jpg': no image has the name 'gone.jpg'",)


def test_what_only_images_can_be_is_refused_on_a_label() -> None:
    said = understand(["split-test", "duplicate-of: a.jpg", "relabel"], _original, on_label=True)
    assert said.decisions == {"relabel": ()}
    assert said.refused == {"split-test", "duplicate-of: a.jpg"}
    assert all("tag the image" in problem for problem in said.problems)


def test_ok_and_relabel_contradict_each_other() -> None:
    said = understand(["ok", "relabel: left", "blurry"], _original)
    assert said.decisions == {"note": ("blurry",)}
    assert said.unclear == {"ok", "relabel"}
    assert "contradict" in said.problems[0]


def test_two_originals_of_one_image_are_a_problem() -> None:
    said = understand(["duplicate-of: a", "duplicate-of: b"], lambda name: name * 64)
    assert said.unclear == {"duplicate-of"}
    assert "more than one image" in said.problems[0]


def test_drop_and_relabel_contradict_each_other_and_so_does_all_at_once() -> None:
    said = understand(["drop: dark", "relabel", "split-test"], _original)
    assert said.decisions == {"split-test": ()}
    assert said.problems == ("tags 'drop' and 'relabel': contradict each other: remove one of them",)
    assert understand(["ok", "drop", "relabel"], _original).unclear == {"ok", "drop", "relabel"}


def test_a_tag_that_is_nearly_a_decision_waits_until_somebody_mends_it() -> None:
    said = understand(["relable", "dark"], _original)
    assert said.decisions == {"note": ("dark",)}
    assert said.refused == {"relable"}
    assert said.problems == ("tag 'relable': did you mean 'relabel'? write 'note: relable' if it is a note",)
    meant = understand(["note: relable"], _original)
    assert (meant.decisions, meant.problems) == ({"note": ("relable",)}, ())
    assert tags_of("note", "relable; dark", str) == ("note: relable", "dark")
    assert not understand(["a fine picture of a wheel"], _original).problems


@pytest.mark.parametrize("tag", ["", "  ", "note:"])
def test_a_tag_without_words_says_nothing(tag: str) -> None:
    said = understand([tag], _original)
    assert not said.decisions
    assert "says nothing" in said.problems[0]


@given(
    st.sampled_from([one for one in DECISIONS if one != "duplicate-of"]),
    st.text(st.characters(exclude_categories=["C"]), max_size=30),
)
def test_a_decision_written_as_tags_is_read_as_itself(decision: str, note: str) -> None:
    tags = tags_of(decision, note, str)
    wanted = {} if decision == "note" and not remarks(note) else {decision: set(remarks(note))}
    assert {word: set(notes) for word, notes in understand(tags, _original).decisions.items()} == wanted


def test_an_original_is_written_by_its_name_and_unknown_decisions_not_at_all() -> None:
    assert tags_of("duplicate-of", FIRST, lambda sha256: "IMG_12.jpg") == ("duplicate-of: IMG_12.jpg",)
    assert tags_of("from another world", "", str) == ()
    assert tags_of("note", "ok", str) == ("note: ok",)


# A missed click


def _on(decision: str, images: int, label: str = "") -> list[Decided]:
    return [Decided(f"{number:064d}", decision, "", label) for number in range(images)]


def test_a_decision_that_newly_covers_most_images_is_counted() -> None:
    assert sweeping(_on("drop", 60), [], 60) == {"drop": 60}
    assert sweeping([*_on("drop", 31), *_on("ok", 30), *_on("relabel", 40, "a box")], [], 60) == {
        "drop": 31,
        "relabel": 40,
    }


def test_what_is_few_known_or_only_a_remark_is_no_missed_click() -> None:
    assert sweeping(_on("drop", 20), [], 20) == {}
    assert sweeping(_on("drop", 60), _on("drop", 30), 60) == {}
    assert sweeping(_on("note", 60), [], 60) == {}
    assert sweeping(_on("ok", 60, "a box"), [], 60) == {}
    assert sweeping([*_on("drop", 21), *_on("drop", 21, "a box")], [], 60) == {}


# Against labels.db

_NOTES = st.dictionaries(
    st.sampled_from(["relabel", "note", "drop"]), st.lists(st.sampled_from("abc"), unique=True).map(tuple), max_size=3
)


def _after(stored: dict[str, Notes], added: dict[str, Notes], removed: set[str]) -> dict[str, Notes]:
    return {word: notes for word, notes in stored.items() if word not in removed} | added


@given(_NOTES, _NOTES, _NOTES)
def test_applying_twice_is_applying_once(
    before: dict[str, Notes], now: dict[str, Notes], stored: dict[str, Notes]
) -> None:
    once = _after(stored, *merged(before, now, stored))
    assert merged(before, now, once) == ({}, set())
    assert merged(now, now, once) == ({}, set())


@given(_NOTES, _NOTES)
def test_without_others_labels_db_says_what_the_tags_say(before: dict[str, Notes], now: dict[str, Notes]) -> None:
    after = _after(dict(before), *merged(before, now, before))
    assert {word: set(notes) for word, notes in after.items()} == {word: set(notes) for word, notes in now.items()}


@given(_NOTES, _NOTES)
def test_tags_that_nobody_touched_change_nothing(before: dict[str, Notes], stored: dict[str, Notes]) -> None:
    assert merged(before, before, stored) == ({}, set())


def test_remarks_that_others_wrote_meanwhile_stay() -> None:
    assert merged({}, {"note": ("mine",)}, {"note": ("theirs",)}) == ({"note": ("theirs", "mine")}, set())
    assert merged({"note": ("old",)}, {}, {"note": ("old", "theirs")}) == ({"note": ("theirs",)}, set())
    assert merged({"relabel": ()}, {}, {"relabel": ()}) == ({}, {"relabel"})
    assert merged({"drop": ()}, {}, {}) == ({}, set())
    assert merged({"duplicate-of": ("a",)}, {"duplicate-of": ("b",)}, {"duplicate-of": ("a",)}) == (
        {"duplicate-of": ("b",)},
        set(),
    )


def test_what_is_unclear_is_left_alone() -> None:
    assert merged({"ok": ()}, {}, {"ok": ()}, {"ok"}) == ({}, set())


# Names


@pytest.fixture
def names(tmp_path) -> Names:  # type: ignore[no-untyped-def]
    with Store.open(tmp_path / "labels.db", create=True) as store:
        made = [
            outcomes.outcome("one", paths=("/photos/a/IMG_1.jpg",)),
            outcomes.outcome("two", paths=("/photos/b/IMG_1.jpg",)),
            outcomes.outcome("three", paths=("/photos/b/IMG_3.jpg", "/photos/copy.jpg")),
        ]
        write(store, ["box"], made)
        return Names(store)


def test_an_image_is_found_by_every_name_it_has(names: Names) -> None:
    three = outcomes.digest("three")
    for name in ("IMG_3.jpg", "img_3.JPG", "/photos/b/IMG_3.jpg", "b/IMG_3.jpg", "copy.jpg", three, three[:10].upper()):
        assert names.find(name) == three
    assert names.find("a/img_1.jpg") == outcomes.digest("one")


def test_a_name_that_says_too_little_is_refused(names: Names) -> None:
    with pytest.raises(InputError, match=r"2 images have the name .* such as /photos/a/IMG_1\.jpg and"):
        names.find("IMG_1.jpg")
    with pytest.raises(InputError, match=r"no image has the name .IMG_9\.jpg."):
        names.find("IMG_9.jpg")


def test_the_shown_name_finds_its_image_again(names: Names) -> None:
    for image in ("one", "two", "three"):
        assert names.find(names.name_of(outcomes.digest(image))) == outcomes.digest(image)
    assert names.name_of(outcomes.digest("three")) == "IMG_3.jpg"


@pytest.mark.parametrize("paths", [("/p/A.jpg", "/p/a.jpg"), ("/p/ b.jpg", "/p/b.jpg"), ("/p/c.jpg ", "/p/c.jpg")])
def test_names_that_differ_too_little_for_a_tag_find_their_images_again(tmp_path: Path, paths: tuple[str, ...]) -> None:
    with Store.open(tmp_path / "labels.db", create=True) as store:
        write(store, ["box"], [outcomes.outcome(path, paths=(path,)) for path in paths])
        names = Names(store)
    for path in paths:
        assert names.find(names.name_of(outcomes.digest(path)).strip()) == outcomes.digest(path)


def test_a_duplicate_without_a_name_means_the_one_to_keep(names: Names) -> None:
    one, two, three = (outcomes.digest(image) for image in ("one", "two", "three"))
    originals = Originals(names, {one: two, two: two})
    assert originals.of(one, "") == two
    assert originals.of(one, "IMG_3.jpg") == three
    with pytest.raises(InputError, match="the one to keep"):
        originals.of(two, "")
    with pytest.raises(InputError, match="no near duplicates"):
        originals.of(three, "")
    with pytest.raises(InputError, match="itself"):
        originals.of(three, "copy.jpg")
