"""Splits that somebody made before: read from lists, matched by name, kept like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.split import read_split
from distill.splitting.given import given_split, read_lists
from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.project import Project
from tests.made_splits import open_test
from tests.made_stores import Thing, ontology, outcome, photo, write

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    project = Project.create(tmp_path / "project", ontology(["box"]))
    things = (Thing("box", (10.0, 10.0, 40.0, 40.0)),)
    made = project.open_store(create=True)
    photos = [photo(tmp_path / "photos" / f"{name}.png", things, seed=seed) for seed, name in enumerate(NAMES)]
    write(made, ["box"], [outcome([path], things) for path in photos])
    return made


def lists(folder: Path, **parts: str) -> Path:
    folder.mkdir()
    for part, text in parts.items():
        (folder / f"{part}.txt").write_text(text)
    return folder


def test_names_with_and_without_folders_and_endings_are_found(store: Store, tmp_path: Path) -> None:
    folder = lists(tmp_path / "lists", train="a\nimages/b.png\n\n", val="c.png\n", test="elsewhere/d.jpg\n")
    given_split(store, read_lists(folder), name="published")
    split = read_split(store, "published")
    stem_of = {sha256: Path(name).stem for sha256, name in store.names_of(list(store.states())).items()}
    assert {part: sorted(stem_of[one] for one in split.images(part)) for part in ("train", "val", "test")} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
    }
    assert split.left_out == {"the lists do not name it": 1}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"train": "a\nz\n"}, "train.txt names 'z': expected one image of that name in the project, there is none"),
        ({"train": "a\n", "test": "b\na.png\n"}, "test.txt names 'a.png', and so does train.txt"),
        ({"val": "a\n"}, "train.txt: no such file"),
        ({"train": "\n"}, "names no image"),
    ],
)
def test_lists_that_cannot_be_are_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, parts: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError, match=says.replace(".", r"\.")):
        given_split(store, read_lists(lists(tmp_path / "lists", **parts)))
    assert store.rows("SELECT count(*) FROM splits") == [(0,)]


def test_a_name_that_several_images_have_is_no_name(store: Store, tmp_path: Path) -> None:
    things = (Thing("box", (10.0, 10.0, 40.0, 40.0)),)
    write(store, ["box"], [outcome([photo(tmp_path / "more" / "a.png", things, seed=9)], things)])
    with pytest.raises(InputError, match="there is 2"):
        given_split(store, {"train": ["a"]})
    given_split(store, {"train": [str(tmp_path / "more" / "a.png")]})


def test_the_mark_that_some_editors_put_before_a_text_is_no_part_of_a_name(store: Store, tmp_path: Path) -> None:
    folder = lists(tmp_path / "lists", train="a\n")
    (folder / "val.txt").write_bytes(b"\xef\xbb\xbfb.png\r\nc.png\r\n")
    split = given_split(store, read_lists(folder))
    assert len(split.images("val")) == 2


def test_listed_images_that_cannot_be_measured_on_are_counted_with_their_reason(store: Store) -> None:
    by_stem = {Path(name).stem: sha256 for sha256, name in store.names_of(list(store.states())).items()}
    store.set_reviewed(by_stem["b"], [], "reviewed-empty")
    store.rows("UPDATE images SET state = 'skipped' WHERE sha256 = ?", by_stem["c"])
    remarks = given_split(store, {"train": ["a"], "val": ["b", "c", "d"], "test": ["e"]}).remarks
    assert "2 of 3 images of val cannot be measured on: 1 not reviewed, 1 skipped in review" in remarks
    assert "1 of 1 image of test cannot be measured on: 1 not reviewed" in remarks
    assert not any("of val" in said for said in given_split(store, {"train": ["a"], "val": ["b"]}).remarks)


def test_lists_over_a_test_part_that_was_opened_say_what_teaches_now(store: Store) -> None:
    first = given_split(store, {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]})
    assert not any("opened" in said for said in first.remarks)
    open_test(store)
    again = given_split(store, {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]})
    assert not any("opened" in said for said in again.remarks)
    (said,) = [
        said
        for said in given_split(store, {"train": ["a", "b", "d"], "val": ["c"], "test": ["e"]}).remarks
        if "opened" in said
    ]
    assert said.startswith("a test part was opened before: 1 image of it may teach or choose now")
