"""The bundled detector's vocabulary, and captions whose every token knows which object it means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labeling.demo.objects import COLOURS, NOUNS
from labeling.demo.scenes import UNSEEN_PAIRS

# transformers' GroundingDINO has these ids built in.
PAD, UNK, CLS, SEP, STOP, QUESTION = 0, 100, 101, 102, 1012, 1029
_FIRST_WORD = 1030

_SYNONYMS = {word: noun for noun, kind in NOUNS.items() for word in (noun, *kind.synonyms)}
WORDS = [*COLOURS, *_SYNONYMS]


def vocabulary() -> dict[str, int]:
    """Return word → token id, without gaps, as BertTokenizer wants it."""
    table = {f"[unused{i}]": i for i in range(_FIRST_WORD)}
    table = {word: i for word, i in table.items() if i not in (PAD, UNK, CLS, SEP, STOP, QUESTION)}
    table |= {"[PAD]": PAD, "[UNK]": UNK, "[CLS]": CLS, "[SEP]": SEP, ".": STOP, "?": QUESTION}
    table |= {word: _FIRST_WORD + i for i, word in enumerate(WORDS)}
    return dict(sorted(table.items(), key=lambda item: item[1]))


@dataclass(frozen=True, slots=True)
class Phrase:
    """One prompt of a caption: an object word with or without a colour, or a word nobody taught."""

    colour: str | None
    word: str | None

    def fits(self, colour: str, noun: str) -> bool:
        """Say whether the phrase names an object of this colour and noun."""
        return self.word is not None and _SYNONYMS[self.word] == noun and self.colour in (None, colour)

    def tokens(self) -> list[int]:
        """Return the token ids of the phrase."""
        word = UNK if self.word is None else _FIRST_WORD + WORDS.index(self.word)
        return [word] if self.colour is None else [_FIRST_WORD + WORDS.index(self.colour), word]


def draw_caption(rng: np.random.Generator, things: list[tuple[str, str]], most_absent: int) -> list[Phrase]:
    """Choose what a scene is asked for: most of what is there, and about as much that is not."""
    nouns, colours = list(NOUNS), list(COLOURS)
    style = rng.random()
    coloured_share = 0.0 if style < 0.35 else (1.0 if style < 0.7 else 0.5)
    chosen: list[tuple[str | None, str | None]] = []
    for colour, noun in things:
        if rng.random() < 0.85:
            chosen.append((colour if rng.random() < coloured_share else None, noun))
        if rng.random() < 0.35 and coloured_share:
            chosen.append((colours[int(rng.integers(len(colours)))], noun))  # right noun, wrong colour
    for _ in range(int(rng.integers(1, most_absent + 1))):
        noun = nouns[int(rng.integers(len(nouns)))]
        chosen.append((colours[int(rng.integers(len(colours)))] if rng.random() < coloured_share else None, noun))
    if rng.random() < 0.1:
        chosen.append((None, None))
    unique = [pair for pair in dict.fromkeys(chosen) if pair not in UNSEEN_PAIRS]
    order = rng.permutation(len(unique))
    return [Phrase(unique[i][0], _rename(rng, unique[i][1])) for i in order]


def _rename(rng: np.random.Generator, noun: str | None) -> str | None:
    if noun is None or rng.random() > 0.15 or not NOUNS[noun].synonyms:
        return noun
    return NOUNS[noun].synonyms[int(rng.integers(len(NOUNS[noun].synonyms)))]


def spell(phrases: list[Phrase]) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the caption's token ids, special tokens included, and each phrase's half-open token span."""
    ids, spans = [CLS], []
    for phrase in phrases:
        tokens = phrase.tokens()
        spans.append((len(ids), len(ids) + len(tokens)))
        ids += [*tokens, STOP]
    return [*ids, SEP], spans
