"""B3: from 1 to 300 classes: forward passes, time, and what packing many prompts into one caption costs in recall.

Usage: python scripts/bench/classes.py [--photos N] [--rounds N] [--json]

Forward passes of the bundled detector are counted as they happen, for one batch. The peers' way is one pass per class:
its cost is the number of classes times a pass with one class. Recall is the share of the drawn objects that get a box
(IoU >= 0.5) of their own class at the default score: asked alone, one phrase per pass, and asked together with all
other phrases. 112 classes are also packed into shorter captions: what more passes would buy. Among 300 classes are
synonyms and phrases without a colour; a box counts where what it says is true.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from photos import COLOURS, NOUNS, Photo, Thing, scenes
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

from labeling.core import geometry
from labeling.core.ontology import Ontology, OntologyClass
from labeling.demo import objects
from labeling.images import load
from labeling.teachers.backends import DETECTORS, TeacherSpec, build_detector
from labeling.teachers.filters import FilterSettings
from labeling.teachers.teacher import Labelled, Teacher

COUNTS = (1, 5, 20, 112, 300)
LIMITS = (32, 64, 128, 256)
SCORE = DETECTORS["bundled"].default_score
NOTE = (
    "The tokenizer is the bundled one, where every word is one token: a phrase of colour and noun takes 3 of the 256 "
    "of a caption, its full stop included. BERT's own tokenizer is not here; it cuts rarer words into pieces: 300 "
    "such classes may take one pass more."
)
_TRUE_NOUN = {word: noun for noun, entry in objects.NOUNS.items() for word in (noun, *entry.synonyms)}


def names(count: int) -> list[str]:
    """Return class names that the bundled detector reads: those of the drawn objects, then any other phrase."""
    drawn = [f"{colour} {noun}" for colour, noun in product(COLOURS, NOUNS)]
    pairs = [f"{colour} {noun}" for noun, colour in product(objects.NOUNS, objects.COLOURS)]
    synonyms = [f"{colour} {word}" for word, colour in product(_TRUE_NOUN, objects.COLOURS)]
    two_colours = [f"{one} {other} box" for one, other in product(objects.COLOURS, repeat=2) if one != other]
    two_colours += [f"{one} {other} cone" for one, other in product(objects.COLOURS, repeat=2) if one != other]
    return list(dict.fromkeys([*drawn, *pairs, *synonyms, *_TRUE_NOUN, *two_colours]))[:count]


class Counted:
    """The bundled detector, its forward passes counted."""

    def __init__(self) -> None:
        self.detector: Any = build_detector(TeacherSpec(detector="bundled"))
        self.forwards = 0
        self.detector._model.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.forwards += 1

    def teacher(self, classes: Sequence[str]) -> Teacher:
        """Return a teacher without segmenter for these classes, each its own prompt."""
        ontology = Ontology(tuple(OntologyClass(name, (name,)) for name in classes))
        return Teacher(self.detector, None, ontology, [SCORE] * len(classes), FilterSettings())


def bench(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    photos = scenes(count)
    pixels = [load(photo.path, max_pixels=10**8).pixels for photo in photos]
    counted = Counted()
    rows, steps, forwards = [], {}, {}
    for number in COUNTS:
        teacher = counted.teacher(names(number))
        counted.forwards = 0
        teacher.detect(pixels[:1])
        forwards[number] = counted.forwards
        asked = [span.prompt for chunk in counted.detector.chunks(teacher.ontology) for span in chunk.spans]
        missing = len(set(names(number)) - set(asked))
        goal = "<= 4.5" if number == 300 else ""
        rows.append(Row(f"{number} classes: forward passes", forwards[number], goal=goal, why="captions are full"))
        rows.append(Row(f"{number} classes: classes left out", missing, goal="<= 0", floor="<= 0", why="a bug"))
        steps[f"{number}"] = partial(teacher.detect, pixels[:1])
    times = interleave(steps, rounds)
    for number in COUNTS:
        each = [1000 * seconds / forwards[number] for seconds in times[f"{number}"]]
        rows.append(measured(f"{number} classes: ms per forward pass, one photo", spread(each)))
        if number > 1:
            loop = tuple(number * value for value in ratio(times, "1", f"{number}"))
            rows.append(measured(f"{number} classes: one pass per class ÷ ours", (loop[0], loop[1], loop[2])))
    return [*rows, *_recall(counted, photos, pixels), *_packing(counted, photos, pixels)]


def _packing(counted: Counted, photos: Sequence[Photo], pixels: Sequence[Any]) -> list[Row]:
    """Return passes and recall of 112 classes by the length of a caption; the detector's own limit is the last."""
    classes, rows, reader = names(112), [], counted.detector._reader
    own = reader._limit
    for limit in LIMITS:
        reader._limit, reader._plan = limit, None
        teacher = counted.teacher(classes)
        counted.forwards, hits = 0, []
        for photo, image in zip(photos, pixels, strict=True):
            labelled = teacher.detect([image])[0]
            hits += [_hit(thing, classes, labelled) for thing in photo.things]
        passes = counted.forwards / len(photos)
        rows.append(Row(f"112 classes, captions of up to {limit} tokens: forward passes", passes))
        rows.append(Row(f"112 classes, captions of up to {limit} tokens: recall, %", 100 * statistics.mean(hits)))
    reader._limit, reader._plan = own, None
    return rows


def _recall(counted: Counted, photos: Sequence[Photo], pixels: Sequence[Any]) -> list[Row]:
    alone = []
    for photo, image in zip(photos, pixels, strict=True):
        phrases = sorted({_phrase(thing) for thing in photo.things})
        # What is asked for but not there cannot add to recall, so those passes are left out.
        answers = {phrase: counted.teacher([phrase]).detect([image])[0] for phrase in phrases}
        alone += [_hit(thing, [_phrase(thing)], answers[_phrase(thing)]) for thing in photo.things]
    share = 100 * statistics.mean(alone)
    rows = [Row(f"recall of {len(alone)} objects, asked alone, %", share)]
    for number in COUNTS[2:]:
        classes = names(number)
        teacher = counted.teacher(classes)
        hits = []
        for photo, image in zip(photos, pixels, strict=True):
            labelled = teacher.detect([image])[0]
            hits += [_hit(thing, classes, labelled) for thing in photo.things]
        packed = 100 * statistics.mean(hits)
        rows.append(Row(f"{number} classes: recall asked together, %", packed))
        rows.append(
            Row(
                f"{number} classes: recall lost against asking alone, points", share - packed, goal="<= 1",
                why="a query answers with one phrase, and in one caption similar phrases compete for it",
            )
        )  # fmt: skip
    return rows


def _phrase(thing: Thing) -> str:
    return f"{thing.colour} {thing.noun}"


def _hit(thing: Thing, classes: Sequence[str], labelled: Labelled) -> bool:
    """Say whether the answer has a box on the object with a name that is true of it."""
    found = labelled.detections
    true = np.array([_is_true(classes[int(class_id)], thing) for class_id in found.class_id], dtype=bool)
    overlap = geometry.iou(np.array([thing.box_xyxy], np.float32), found.xyxy[true])
    return bool((overlap >= 0.5).any())


def _is_true(name: str, thing: Thing) -> bool:
    *colours, noun = name.split()
    return _TRUE_NOUN[noun] == thing.noun and colours in ([], [thing.colour])


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, photos=48).parse_args()
    publish("classes", bench(options.photos, options.rounds), options, [NOTE])


if __name__ == "__main__":
    main()
