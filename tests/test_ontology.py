"""The ontology: what is accepted, what is refused and where, and that class ids only ever grow at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, OntologyClass, from_autodistill, load_ontology, parse_classes

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)


def test_short_form_gives_names_and_prompts_in_order() -> None:
    ontology = parse_classes("forklift, pallet: wooden pallet | plastic pallet,  person in  hi-vis vest ")
    assert ontology.names == ("forklift", "pallet", "person in hi-vis vest")
    assert ontology.prompts == [
        ("forklift", 0),
        ("wooden pallet", 1),
        ("plastic pallet", 1),
        ("person in hi-vis vest", 2),
    ]
    assert ontology.index("pallet") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected classes such as"),
        (" \n", "expected classes such as"),
        ("a,,b", "class 2 of 'a,,b' is empty"),
        ("a,", "class 2 of 'a,' is empty"),
        (": p", "class 1 of ': p' is empty"),
        ("a, b, a", "class 'a' comes twice"),
        ("a, A", "class 'A' comes twice (first as 'a')"),
        ("a:", "prompt 1 of class 'a' is empty"),
        ("a: p |", "prompt 2 of class 'a' is empty"),
        ("a: p, b: P", "prompt 'P' of class 'b' already belongs to class 'a'"),
        ("a: p | p", "prompt 'p' of class 'a' already belongs to class 'a'"),
        ("a\x1b[2J", "control character"),
        ("a: x\ty", "control character"),
        ("safe\u202etxt", "control character"),
        ("\udcff", "control character"),
    ],
)
def test_unusable_classes_are_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_classes(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_emoji_with_joiners_and_accents_are_names() -> None:
    ontology = parse_classes("caf\u00e9, \U0001f468\u200d\U0001f469\u200d\U0001f467")
    assert len(ontology.classes) == 2
    assert parse_classes("cafe\u0301").names == parse_classes("caf\u00e9").names


def test_threshold_outside_the_unit_interval_is_refused() -> None:
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="threshold in \\[0, 1\\]"):
            Ontology((OntologyClass("a", ("a",), threshold),))


def test_no_classes_is_refused() -> None:
    with pytest.raises(InputError, match="at least one class"):
        Ontology(())


def test_unknown_class_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'forklift'"):
        parse_classes("forklift, pallet").index("fork lift")


def test_hash_counts_names_prompts_and_order_only() -> None:
    base = Ontology((OntologyClass("a", ("p",)), OntologyClass("b", ("q",))))
    dressed = Ontology((OntologyClass("a", ("p",), 0.5, "guide"), OntologyClass("b", ("q",))))
    assert dressed.hash == base.hash
    assert len(base.hash) == 16
    others = ["b: q, a: p", "a: q, b: p", "a: p | q, b: r", "a: p", "a: p, c: q"]
    assert len({base.hash, *(parse_classes(text).hash for text in others)}) == 6


def test_two_prompts_of_one_autodistill_class_are_one_class() -> None:
    ontology = from_autodistill({"wooden pallet": "pallet", "lift": "forklift", "plastic pallet": "pallet"})
    assert ontology.names == ("pallet", "forklift")
    assert ontology.classes[0].prompts == ("wooden pallet", "plastic pallet")


def test_a_label_is_the_class_that_has_the_name_or_the_alias() -> None:
    ontology = Ontology((OntologyClass("a", ("a",), aliases=("old  a", "cafe\u0301")), OntologyClass("b", ("b",))))
    found = [ontology.class_of(label) for label in ("a", "old a", "caf\u00e9", "b", "c", "")]
    assert found == ["a", "a", "a", "b", None, None]


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ([("b",), ()], "alias 'b' of class 'a' already stands for class 'b'"),
        ([(), ("A",)], "alias 'A' of class 'b' already stands for class 'a'"),
        ([("x",), ("X",)], "alias 'X' of class 'b' already stands for class 'a'"),
        ([("x", "x"), ()], "alias 'x' of class 'a' already stands for class 'a'"),
        ([("a",), ()], "alias 'a' of class 'a' already stands for class 'a'"),
        ([("",), ()], "alias 1 of class 'a' is empty"),
        ([("x\x1b",), ()], "control character"),
    ],
)
def test_names_and_aliases_are_unique(aliases: list[tuple[str, ...]], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Ontology(tuple(OntologyClass(name, (name,), aliases=also) for name, also in zip("ab", aliases, strict=True)))
    assert said in str(caught.value)


def test_aliases_leave_the_hash_and_stay_when_the_ontology_is_extended() -> None:
    plain, named = (
        parse_classes("a, b"),
        Ontology((OntologyClass("a", ("a",), aliases=("x",)), *parse_classes("b").classes)),
    )
    assert named.hash == plain.hash
    assert named.extended_with(plain) == named


def test_extending_replaces_prompts_and_appends() -> None:
    old = Ontology((OntologyClass("a", ("a",), 0.3, "look"), OntologyClass("b", ("b",))))
    new = old.extended_with(parse_classes("c, a: p | q"))
    assert new.names == ("a", "b", "c")
    assert new.classes[0] == OntologyClass("a", ("p", "q"), 0.3, "look")


def test_extending_refuses_a_prompt_that_moves() -> None:
    with pytest.raises(InputError, match="already belongs"):
        parse_classes("a: p").extended_with(parse_classes("b: p"))


@given(WORDS, WORDS)
def test_class_ids_are_stable_under_extension(first: list[str], second: list[str]) -> None:
    old = parse_classes(", ".join(first))
    new = old.extended_with(parse_classes(", ".join(second)))
    assert new.names[: len(old.names)] == old.names
    assert set(new.names) == {*first, *second}
    assert [new.index(name) for name in new.names] == list(range(len(new.names)))


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("o.yaml", "classes:\n  - a\n  - {name: b, prompts: [p, q], threshold: 0.5, guide: g}\n"),
        ("o.yml", "- a\n- name: b\n  prompts: [p, q]\n  threshold: 0.5\n  guide: g\n"),
        (
            "o.json",
            '{"classes": ["a", {"name": "b",\n\t"prompts": ["p", "q"], "threshold": 0.5, "guide": "g"}]}',
        ),
    ],
)
def test_files_say_the_same_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    expected = Ontology((OntologyClass("a", ("a",)), OntologyClass("b", ("p", "q"), 0.5, "g")))
    assert load_ontology(written(tmp_path, name, text)) == expected


def test_autodistill_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = written(tmp_path, "o.json", '{"milk bottle": "bottle", "blue cap": "cap", "glass bottle": "bottle"}')
    assert load_ontology(path) == parse_classes("bottle: milk bottle | glass bottle, cap: blue cap")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("o.yaml", "- a\n- b\n- A\n", ":3: classes[2].name: class 'A' comes twice"),
        ("o.yaml", "classes:\n  - a\n  - name: b\n    prompts:\n      - x\n      - ''\n", ":6: classes[1].prompts[1]:"),
        ("o.yaml", "- name: b\n  promts: []\n", ":2: classes[0].promts: unknown key 'promts', did you mean 'prompts'?"),
        ("o.yaml", "clases:\n  - a\n", ":1: clases: unknown key 'clases', did you mean 'classes'?"),
        ("o.yaml", "- name: 7\n", ":1: classes[0].name: expected text, got 7: put it in quotes"),
        ("o.yaml", "- name: a\n  threshold: 2\n", ":2: classes[0].threshold: expected less than or equal to 1, got 2"),
        ("o.yaml", "- name: a\n  threshold: .nan\n", ":2: classes[0].threshold: expected"),
        ("o.yaml", "- name: a\n  prompts: []\n", ":2: classes[0].prompts: class 'a' has no prompt"),
        ("o.yaml", "", "expected 'classes:' with a list of classes, the file is empty"),
        ("o.yaml", "[]", "expected at least one class"),
        ("o.yaml", "a: b\n", "expected 'classes:' with a list of classes"),
        ("o.yaml", "- !!python/object:os.system x\n", ":1: YAML tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("o.yaml", "- &x a\n- *x\n", ":1: YAML anchors and aliases are not read"),
        ("o.yaml", "- a\n  b: [\n", "not valid YAML"),
        ("o.yaml", "[" * 1000, "nested too deeply"),
        ("o.json", '{"a": "x",\n "a": "y"}', "key 'a' comes twice"),
        ("o.json", '{"a": "x",\n "b": }', ":2: not valid JSON"),
        ("o.json", '{"p": "a", "P": "b"}', "prompt 'P' of class 'b' already belongs to class 'a'"),
        ("o.json", '{"classes": ["a", {"name": "b",\n "prompts": ["a"]}]}', ":2: classes[1].prompts[0]: prompt 'a'"),
    ],
)
def test_problems_carry_file_and_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InputError) as caught:
        load_ontology(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "o.yaml", "- name: a\n  guid: x\n- name: 3\n- {name: c, threshold: hot}\n")
    with pytest.raises(InputError) as caught:
        load_ontology(path)
    assert [line.removeprefix(str(path)).split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4"]


def test_unreadable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"- a\n- caf\xe9\n")
    large = written(tmp_path, "large.yaml", "- a\n" * 400_000)
    for path, said in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "found a folder"),
        (latin, ":2: expected UTF-8 text, found byte 0xe9"),
        (large, "expected at most 1,000,000 bytes"),
    ]:
        with pytest.raises(InputError) as caught:
            load_ontology(path)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf- a\n")
    assert load_ontology(path).names == ("a",)
