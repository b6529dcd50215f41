"""Packing of prompts into captions, and scores by token span."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, OntologyClass, parse_classes
from labeling.teachers.prompts import Chunk, Vocabulary, normalise_prompt, pack_prompts

OPENING, CLOSING, DOT, UNKNOWN = 101, 102, 1012, 100


def vocabulary(*unknown: str) -> Vocabulary:
    """Splits at spaces and punctuation as BERT's tokenizer does; every word but ``unknown`` has an id."""
    ids: dict[str, int] = {"[sep]": CLOSING}

    def encode(prompts: Sequence[str]) -> list[list[int]]:
        pieces = [re.findall(r"\[sep\]|\w+|[^\w\s]", prompt) for prompt in prompts]
        return [[UNKNOWN if word in unknown else ids.setdefault(word, 2000 + len(ids)) for word in p] for p in pieces]

    return Vocabulary(
        encode, OPENING, DOT, CLOSING, UNKNOWN, frozenset({OPENING, CLOSING, DOT}), ["forklift", "pallet"]
    )


def test_a_caption_is_prompts_between_full_stops() -> None:
    (chunk,) = pack_prompts(parse_classes("box: red box, hi-vis vest"), vocabulary(), 256)
    ids = chunk.token_ids
    assert ids[0] == OPENING
    assert ids[-1] == CLOSING
    assert [(span.prompt, span.class_id, span.start, span.stop) for span in chunk.spans] == [
        ("hi-vis vest", 1, 1, 5),
        ("red box", 0, 6, 8),
    ]
    assert ids[5] == ids[8] == DOT
    assert len(ids) == 10


def test_many_classes_are_packed_whole_into_captions_that_fit() -> None:
    """1,203 names as long as those of LVIS: every class in exactly one caption."""
    words = random.Random(0)
    names = [" ".join(f"w{words.randrange(3000)}" for _ in range(1 + n % 4)) + f" {n}" for n in range(1203)]
    chunks = pack_prompts(Ontology(tuple(OntologyClass(name, (name,)) for name in names)), vocabulary(), 256)
    assert all(len(chunk.token_ids) <= 256 for chunk in chunks)
    assert sorted(span.class_id for chunk in chunks for span in chunk.spans) == list(range(1203))
    assert len(chunks) <= sum(len(chunk.token_ids) for chunk in chunks) / 256 + 2


def test_captions_do_not_depend_on_the_order_of_the_classes() -> None:
    classes = [OntologyClass(f"class {n}", (f"thing {n}", f"other thing number {n}")) for n in range(100)]
    shuffled = random.Random(1).sample(classes, 100)
    read = vocabulary()
    first = pack_prompts(Ontology(tuple(classes)), read, 64)
    second = pack_prompts(Ontology(tuple(shuffled)), read, 64)
    assert len(first) > 10
    assert [chunk.token_ids for chunk in first] == [chunk.token_ids for chunk in second]
    for one, other in zip(first, second, strict=True):
        assert [classes[span.class_id].name for span in one.spans] == [
            shuffled[span.class_id].name for span in other.spans
        ]


def test_a_class_too_long_for_one_caption_is_cut_between_prompts() -> None:
    long = OntologyClass("long", tuple(f"prompt number {n}" for n in range(10)))
    chunks = pack_prompts(Ontology((OntologyClass("short", ("short",)), long)), vocabulary(), 18)
    assert all(len(chunk.token_ids) <= 18 for chunk in chunks)
    assert sorted(span.prompt for chunk in chunks for span in chunk.spans if span.class_id == 1) == sorted(long.prompts)
    assert all(span.stop - span.start == 3 for chunk in chunks for span in chunk.spans if span.class_id == 1)


def test_a_prompt_of_exactly_the_limit_fits_and_one_more_token_does_not() -> None:
    fits = " ".join(f"w{n}" for n in range(253))
    (chunk,) = pack_prompts(Ontology((OntologyClass("a", (fits,)),)), vocabulary(), 256)
    assert len(chunk.token_ids) == 256
    with pytest.raises(InputError, match=r"has 254 tokens, the detector reads at most 253"):
        pack_prompts(Ontology((OntologyClass("a", (fits + " more",)),)), vocabulary(), 256)


@given(
    counts=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=4), min_size=1, max_size=30),
    limit=st.integers(10, 40),
)
def test_a_class_is_never_split_where_it_fits(counts: list[list[int]], limit: int) -> None:
    classes = tuple(
        OntologyClass(f"c{c}", tuple(" ".join(f"c{c}p{p}w{w}" for w in range(size)) for p, size in enumerate(sizes)))
        for c, sizes in enumerate(counts)
    )
    chunks = pack_prompts(Ontology(classes), vocabulary(), limit)
    places: dict[int, list[int]] = {}
    for number, chunk in enumerate(chunks):
        assert len(chunk.token_ids) <= limit
        assert chunk.spans
        for span in chunk.spans:
            places.setdefault(span.class_id, []).append(number)
    for class_id, sizes in enumerate(counts):
        assert len(places[class_id]) == len(sizes)
        if sum(size + 1 for size in sizes) <= limit - 2:
            assert len(set(places[class_id])) == 1


def scores(chunk: Chunk, words: dict[str, float], caption: Sequence[str]) -> dict[str, float]:
    """Score each prompt for a query whose probability is ``words[word]`` on every token of that word."""
    probabilities = np.zeros(256, dtype=np.float32)
    position = 1
    for prompt in caption:
        for word in prompt.split():
            probabilities[position] = words.get(word, 0.0)
            position += 1
        position += 1
    result = probabilities @ chunk.positive_map(256)
    return dict(zip((span.prompt for span in chunk.spans), result.tolist(), strict=True))


@pytest.mark.parametrize(
    ("prompts", "words", "winner"),
    [
        (["light", "traffic light", "traffic sign"], {"traffic": 0.9, "light": 0.8}, "traffic light"),
        (["light", "traffic light", "traffic sign"], {"traffic": 0.1, "light": 0.8}, "light"),
        (["boat", "sail boat"], {"sail": 0.9, "boat": 0.7}, "sail boat"),
        (["blue box", "red box"], {"red": 0.9, "box": 0.9}, "red box"),
        (["shirt", "t-shirt"], {"shirt": 0.6, "t-shirt": 0.1}, "shirt"),
    ],
)
def test_shared_words_do_not_confuse_classes(prompts: list[str], words: dict[str, float], winner: str) -> None:
    read = vocabulary()
    whole_words = Vocabulary(
        lambda texts: read.encode([text.replace("-", "_") for text in texts]), OPENING, DOT, CLOSING, UNKNOWN,
        read.reserved, [],
    )  # fmt: skip
    (chunk,) = pack_prompts(Ontology(tuple(OntologyClass(p, (p,)) for p in prompts)), whole_words, 256)
    result = scores(chunk, words, sorted(prompts))
    assert max(result, key=lambda prompt: result[prompt]) == winner


def test_the_score_of_a_prompt_is_the_mean_over_its_tokens() -> None:
    (chunk,) = pack_prompts(parse_classes("red box, cone"), vocabulary(), 256)
    assert scores(chunk, {"red": 0.9, "box": 0.3, "cone": 0.5}, ["cone", "red box"]) == {
        "cone": pytest.approx(0.5),
        "red box": pytest.approx(0.6),
    }


def test_prompts_are_normalised() -> None:
    assert normalise_prompt("  A  Red.Box? ") == "a red box"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([("a", "...")], r"prompt '\.\.\.' has no words"),
        ([("a", "forklfit")], r"does not have the word 'forklfit', the nearest it knows is 'forklift'"),
        ([("a", "red \U0001f6a7")], r"does not have the word '\U0001f6a7'"),
        ([("a", "left [SEP] right")], r"a mark that the detector reserves"),
        ([("a", "no. 5"), ("b", "no 5")], r"'no\. 5' and 'no 5' of different classes read the same"),
    ],
)
def test_a_prompt_that_the_detector_cannot_read_is_refused(classes: list[tuple[str, str]], message: str) -> None:
    ontology = Ontology(tuple(OntologyClass(name, (prompt,)) for name, prompt in classes))
    with pytest.raises(InputError, match=message) as caught:
        pack_prompts(ontology, vocabulary("forklfit", "\U0001f6a7"), 256)
    assert "\n" not in str(caught.value)


def test_no_caption_has_more_prompts_than_asked_for() -> None:
    ontology = parse_classes("a: one | two, b: three, c: four | five | six, d: seven")
    chunks = pack_prompts(ontology, vocabulary(), 256, prompts_per_pass=2)
    prompts = [[span.prompt for span in chunk.spans] for chunk in chunks]
    # "c" has more prompts than a caption may, so it alone is cut.
    assert prompts == [["five", "four"], ["six"], ["one", "two"], ["seven", "three"]]
    assert pack_prompts(ontology, vocabulary(), 256, prompts_per_pass=7) == pack_prompts(ontology, vocabulary(), 256)


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_than_one_prompt_per_pass_is_refused(number: int) -> None:
    with pytest.raises(InputError, match="prompts per pass"):
        pack_prompts(parse_classes("a"), vocabulary(), 256, prompts_per_pass=number)
