"""What a dataset will hold, before a file is written: names, repeats, its hash, and what is odd about it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from labeling.core.config import ImagesConfig

from ..curation.readiness import repeat_factor, target_of
from .labels import Example

LAYOUT = 1
"""Counts up whenever the same labels would give other files."""

_SHORT_NAME = 16
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """A dataset.

    Attributes:
        names: the classes.
        parts: of the split.
        task: detect, or segment.
        examples: by part and sha256.
        stems: names of the files of each image without their suffix, by sha256.
        repeats: how often each image of part train is listed, by sha256.
        weighted: some label weighs less than 1, so that weights are written.
        ringed: some box is to be ignored, so that those are written.
        hash: of everything that is taught: 16 hex digits.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    task: str
    examples: tuple[Example, ...]
    stems: dict[str, str]
    repeats: dict[str, int]
    weighted: bool
    ringed: bool
    hash: str

    def of(self, part: str) -> list[Example]:
        """Return the images of one part."""
        return [example for example in self.examples if example.part == part]


def plan(
    found: Sequence[Example],
    names: Sequence[str],
    parts: Sequence[str],
    task: str,
    gate: ImagesConfig,
    *,
    oversample: bool,
    seed: int,
) -> Plan:
    """Return the dataset of some images.

    Args:
        found: by part and sha256.
        names: the classes, in the order of the ontology.
        parts: that are asked for, with images or without.
        task: detect, or segment.
        gate: how photos become pixels.
        oversample: show images of thin classes more often.
        seed: decides where a repeat factor between two whole numbers goes.
    """
    training = [example for example in found if example.part == "train"]
    repeats = {example.sha256: 1 for example in training}
    if oversample:
        images = Counter(class_id for example in training for class_id in example.class_ids)
        factors = {class_id: repeat_factor(count / len(training)) for class_id, count in images.items()}
        for example in training:
            factor = max((factors[class_id] for class_id in example.class_ids), default=1.0)
            repeats[example.sha256] = _rounded(factor, f"{seed} {example.sha256}")
    weighted = any(weight < 1 for example in training for weight in example.weights)
    ringed = any(example.ignored for example in training)
    digest = hashlib.sha256()
    for said in (
        [LAYOUT, list(names), sorted(parts), task, gate.background, gate.accept_truncated, weighted, ringed],
        *([one.sha256, one.part, one.lines, one.weights, one.ignored, repeats.get(one.sha256)] for one in found),
    ):
        digest.update(json.dumps(said).encode() + b"\n")
    return Plan(
        tuple(names),
        tuple(parts),
        task,
        tuple(found),
        _stems(found),
        repeats,
        weighted,
        ringed,
        digest.hexdigest()[:_SHORT_NAME],
    )


def remarks(made: Plan, subtle: Collection[str] = ()) -> Iterator[str]:
    """Yield what is odd about a dataset, one sentence each.

    Args:
        made: the dataset.
        subtle: classes that are hard to see, which need more images.
    """
    counts = {part: Counter(i for one in made.of(part) for i in one.class_ids) for part in ("train", "val")}
    absent = [name for place, name in enumerate(made.names) if not counts["train"][place]]
    if absent:
        yield f"no image of part train holds {_named(absent)}: the student cannot learn that"
    for target in sorted({target_of(name in subtle) for name in made.names}):
        thin = [
            f"{name} has {counts['train'][place]:,}"
            for place, name in enumerate(made.names)
            if target_of(name in subtle) == target and 0 < counts["train"][place] < target
        ]
        if thin:
            yield f"few images to learn from, {target:,} are a start: {_named(thin)}"
    if not made.of("val"):
        yield "part val is empty: nothing says when to stop, and no threshold can be chosen"
    else:
        unseen = [name for place, name in enumerate(made.names) if counts["train"][place] and not counts["val"][place]]
        if unseen:
            yield f"no image of part val holds {_named(unseen)}: how well that is learnt is not seen there"
    if not any(example.reviewed for example in made.of("train")):
        yield "nobody has reviewed an image of part train: the student learns what the teacher says, errors included"


def _rounded(factor: float, lot: str) -> int:
    """Return the whole number above or below, so that the mean over many lots is the factor."""
    drawn = int.from_bytes(hashlib.sha256(lot.encode()).digest()[:8], "big") / 2**64
    return int(factor) + (drawn < factor % 1)


def _stems(found: Sequence[Example]) -> dict[str, str]:
    """Return names of files that nothing of the user's names is in; they are short unless two would be the same."""
    short = {example.sha256[:_SHORT_NAME] for example in found}
    digits = _SHORT_NAME if len(short) == len(found) else None
    return {example.sha256: example.sha256[:digits] for example in found}


def _named(some: Sequence[str]) -> str:
    more = f" and {len(some) - _MOST_NAMED:,} more" if len(some) > _MOST_NAMED else ""
    return ", ".join(some[:_MOST_NAMED]) + more
