"""Captions for a grounding detector: prompts packed into chunks of tokens, and class scores read back by token span."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import InputError
from ..core.ontology import Ontology

#: Full stop and question mark end a phrase for GroundingDINO, so they cannot stand inside a prompt.
_DELIMITERS = re.compile(r"[.?]")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What packing has to know of a tokenizer.

    Attributes:
        encode: prompts in, one list of token ids per prompt out, without special tokens.
        opening: id before the first prompt ([CLS]).
        separator: id after each prompt (the full stop).
        closing: id after the last prompt ([SEP]).
        unknown: id of a word that the vocabulary lacks ([UNK]).
        reserved: ids that no prompt may contain.
        words: words of the vocabulary, to name the nearest one to an unknown word.
    """

    encode: Callable[[Sequence[str]], list[list[int]]]
    opening: int
    separator: int
    closing: int
    unknown: int
    reserved: frozenset[int]
    words: Collection[str]


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``start`` to ``stop`` (exclusive) of a chunk belong to ``prompt`` of class ``class_id``."""

    prompt: str
    class_id: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One caption ``a . b . c .`` as token ids, special tokens included, and where its prompts lie."""

    token_ids: tuple[int, ...]
    spans: tuple[Span, ...]

    def positive_map(self, width: int) -> npt.NDArray[np.float32]:
        """Return the (width, prompts) matrix that turns token probabilities into prompt scores by one product.

        A prompt's score is the mean over its tokens, as in GroundingDINO's own COCO evaluation. A maximum would let
        "blue box" fire on every box through the token that it shares with "red box"; the mean asks for all its words.
        """
        matrix = np.zeros((width, len(self.spans)), dtype=np.float32)
        for column, span in enumerate(self.spans):
            matrix[span.start : span.stop, column] = 1.0 / (span.stop - span.start)
        return matrix


def normalise_prompt(prompt: str) -> str:
    """Return the prompt as the detector reads it: lower case, single spaces, no phrase delimiters."""
    return " ".join(_DELIMITERS.sub(" ", prompt).lower().split())


def pack_prompts(
    ontology: Ontology, vocabulary: Vocabulary, limit: int, prompts_per_pass: int | None = None
) -> tuple[Chunk, ...]:
    """Pack all prompts into as few captions as fit, cut at class borders.

    The classes are packed in the order of their prompts and not of the ontology, so that the same classes in another
    order share their captions with the same neighbours and get the same scores. A class is cut, at the border of a
    prompt, only where it does not fit into a caption of its own.

    Args:
        ontology: classes and prompts.
        vocabulary: the detector's own tokenizer.
        limit: most tokens of a caption, special tokens included (256 for GroundingDINO).
        prompts_per_pass: most prompts of a caption; None for as many as fit.

    Raises:
        InputError: ``prompts_per_pass`` is below 1, or a prompt is empty, has a word that the detector does not know,
            is too long for one caption, or reads the same as a prompt of another class.
    """
    if prompts_per_pass is not None and prompts_per_pass < 1:
        raise InputError(f"prompts per pass is {prompts_per_pass}: expected a whole number from 1")
    encoded = _encode(ontology, vocabulary)
    room = limit - 2
    # Every prompt takes at least two tokens, so that room never allows more prompts than this.
    most = prompts_per_pass or room
    for prompt, _, ids in encoded:
        if len(ids) + 1 > room:
            raise InputError(
                f"prompt {prompt[:40]!r}… has {len(ids)} tokens, the detector reads at most {room - 1}: shorten it"
            )
    by_class: dict[int, list[tuple[str, int, list[int]]]] = {}
    for entry in sorted(encoded, key=lambda entry: normalise_prompt(entry[0])):
        by_class.setdefault(entry[1], []).append(entry)

    captions: list[list[tuple[str, int, list[int]]]] = [[]]
    used = 0
    for entries in by_class.values():
        whole = sum(len(ids) + 1 for _, _, ids in entries)
        blocks = [entries] if whole <= room and len(entries) <= most else [[entry] for entry in entries]
        for block in blocks:
            length = sum(len(ids) + 1 for _, _, ids in block)
            if used + length > room or len(captions[-1]) + len(block) > most:
                captions.append([])
                used = 0
            captions[-1].extend(block)
            used += length
    return tuple(_chunk(caption, vocabulary) for caption in captions if caption)


def _encode(ontology: Ontology, vocabulary: Vocabulary) -> list[tuple[str, int, list[int]]]:
    prompts = list(ontology.prompts)
    readable = [normalise_prompt(prompt) for prompt, _ in prompts]
    if "" in readable:
        empty = prompts[readable.index("")][0]
        raise InputError(f"prompt {empty!r} has no words: describe what to look for")
    encoded = vocabulary.encode(readable)
    owners: dict[tuple[int, ...], tuple[str, int]] = {}
    for (prompt, class_id), ids in zip(prompts, encoded, strict=True):
        if not ids or vocabulary.unknown in ids:
            raise InputError(_unknown_word(prompt, vocabulary))
        if vocabulary.reserved.intersection(ids):
            raise InputError(f"prompt {prompt!r} contains a mark that the detector reserves for itself: reword it")
        other, other_class = owners.setdefault(tuple(ids), (prompt, class_id))
        if other_class != class_id:
            raise InputError(
                f"prompts {other!r} and {prompt!r} of different classes read the same to the detector: reword one"
            )
    return [(prompt, class_id, ids) for (prompt, class_id), ids in zip(prompts, encoded, strict=True)]


def _unknown_word(prompt: str, vocabulary: Vocabulary) -> str:
    words = normalise_prompt(prompt).split()
    encoded = zip(words, vocabulary.encode(words), strict=True)
    unknown = next((word for word, ids in encoded if not ids or vocabulary.unknown in ids), prompt)
    near = difflib.get_close_matches(unknown, vocabulary.words, n=1)
    hint = f", the nearest it knows is {near[0]!r}" if near else ""
    return f"prompt {prompt!r}: the detector's vocabulary does not have the word {unknown!r}{hint}"


def _chunk(caption: list[tuple[str, int, list[int]]], vocabulary: Vocabulary) -> Chunk:
    token_ids = [vocabulary.opening]
    spans = []
    for prompt, class_id, ids in caption:
        spans.append(Span(prompt, class_id, len(token_ids), len(token_ids) + len(ids)))
        token_ids += [*ids, vocabulary.separator]
    return Chunk((*token_ids, vocabulary.closing), tuple(spans))
