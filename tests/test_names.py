"""File names of exports: unique on every file system, safe for loaders, deterministic."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from labeling.formats.names import UniqueNames, safe_stem, split_name

A, B, C = "a" * 64, "b" * 64, "c" * 64


def unique_names(named: Iterable[tuple[str, str, str]]) -> list[str]:
    names = UniqueNames()
    return [names.take(*one) for one in named]


def test_first_keeps_its_name_and_later_ones_get_part_of_their_hash() -> None:
    named = [("1", ".jpg", A), ("1", ".jpg", B), ("2", ".jpg", C)]
    assert unique_names(named) == ["1.jpg", "1-bbbbbbbb.jpg", "2.jpg"]


def test_same_stem_with_another_suffix_is_no_collision() -> None:
    assert unique_names([("1", ".jpg", A), ("1", ".png", B)]) == ["1.jpg", "1.png"]


def test_names_that_differ_in_case_or_normal_form_only_are_kept_apart() -> None:
    assert unique_names([("A", "", A), ("a", "", B)]) == ["A", "a-bbbbbbbb"]
    assert unique_names([("caf\u00e9", "", A), ("cafe\u0301", "", B)])[1] == "cafe\u0301-bbbbbbbb"


def test_name_that_looks_like_a_made_up_one_gets_more_digits() -> None:
    named = [("1-bbbbbbbb", "", A), ("1", "", C), ("1", "", B)]
    assert unique_names(named) == ["1-bbbbbbbb", "1", "1-" + "b" * 16]


def test_split_name_keeps_hidden_and_dotted_names_whole() -> None:
    assert split_name("/photos/a.b/x.y.jpg") == ("x.y", ".jpg")
    assert split_name("photos/noext") == ("noext", "")
    assert split_name(".hidden") == (".hidden", "")


def test_safe_stem_keeps_scripts_and_replaces_what_loaders_stumble_over() -> None:
    assert safe_stem("größe 北京 (2)") == "größe 北京 (2)"
    assert safe_stem("a*b?[c]\n#%\\xe9") == "a_b__c_____xe9"
    assert safe_stem(".hidden") == "_hidden"
    assert safe_stem("") == "_"
    assert len(safe_stem("北" * 100).encode()) <= 200


STEMS = st.sampled_from(["a", "A", "b", "a-00000000"])


@given(st.lists(st.tuples(STEMS, st.integers(0, 10**6)), unique_by=lambda row: row[1]))
def test_names_are_always_unique_without_regard_to_case(rows: list[tuple[str, int]]) -> None:
    names = unique_names((stem, ".jpg", f"{number:064d}") for stem, number in rows)
    assert len({name.casefold() for name in names}) == len(rows)
