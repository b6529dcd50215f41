"""What each image of a split teaches: lines of labels, how much each counts, and boxes that are neither yes nor no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.formats import yolo
from labeling.formats.export import CROWD

from ..curation.scenes import Scene, scenes

LEAST_WEIGHT = 0.0001
"""A label that is taught counts for something, however low its score."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken.

    Attributes:
        task: detect writes boxes, segment polygons.
        pseudo: labels that nobody has reviewed, in part train.
        weights: labels of the teacher count by their score.
        ring: boxes that the teacher was not sure enough of, and groups that nobody counted, are ignored.
        unreviewed: images that nobody has reviewed may be in other parts than train.
    """

    task: str = "detect"
    pseudo: bool = True
    weights: bool = True
    ring: bool = True
    unreviewed: bool = False

    @property
    def soft(self) -> bool:
        """Say whether labels may be anything but taught or not there: only boxes can."""
        return self.task == "detect"


@dataclass(frozen=True, slots=True)
class Example:
    """One image of a part.

    Attributes:
        sha256: the image.
        part: train, val or test.
        reviewed: its labels are people's.
        lines: one label each, without line end, sorted; no two are the same to a reader in single precision.
        weights: one per line, in (0, 1]; 1 in parts that are not taught.
        ignored: lines of boxes in which nothing is taught.
        class_ids: of its lines.
    """

    sha256: str
    part: str
    reviewed: bool
    lines: tuple[str, ...]
    weights: tuple[float, ...]
    ignored: tuple[str, ...]
    class_ids: frozenset[int]


@dataclass(slots=True)
class Examples:
    """What was found.

    Attributes:
        all: by part and sha256.
        left_out: images of the split that are not among them, by reason.
        left_out_objects: labels of those that are, which no line says, by reason.
        altered: lines that say something else than the label, by what became of it.
    """

    all: list[Example] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_objects: Counter[str] = field(default_factory=Counter)
    altered: Counter[str] = field(default_factory=Counter)


def examples(store: Store, parts: Mapping[str, str], names: Sequence[str], taken: Taken) -> Examples:
    """Return what the images of a split teach.

    An image that nobody has reviewed is never taught to be empty: without a label it is left out.

    Args:
        store: labels.db.
        parts: of the images that are asked for, by sha256.
        names: the classes; positions are the numbers in the lines.
        taken: see ``Taken``.
    """
    found, writer = Examples(), _Writer(store, names, taken)
    waiting = set(parts)
    for scene in scenes(store, masks=taken.task == "segment"):
        part = parts.get(scene.sha256)
        if part is None:
            continue
        waiting.remove(scene.sha256)
        if not scene.reviewed and part == "train" and not taken.pseudo:
            found.left_out["nobody has reviewed it"] += 1
        elif not scene.reviewed and part != "train" and not taken.unreviewed:
            found.left_out[f"nobody has reviewed it, and part {part} is to judge by"] += 1
        else:
            example = writer.example(scene, part, found)
            if example.lines or scene.reviewed:
                found.all.append(example)
            else:
                found.left_out["the teacher saw nothing and nobody has reviewed it"] += 1
    found.left_out.update(_unlabelled(store, waiting))
    found.all.sort(key=lambda example: (example.part, example.sha256))
    return found


class _Writer:
    """Turns labels into lines."""

    def __init__(self, store: Store, names: Sequence[str], taken: Taken) -> None:
        self._store = store
        self._class_ids = {name: place for place, name in enumerate(names)}
        self._taken = taken
        self._dropped = DecisionLedger(store).dropped_labels()

    def example(self, scene: Scene, part: str, found: Examples) -> Example:
        weights: dict[bytes, float] = {}
        lines: dict[bytes, str] = {}
        groups: list[Annotation] = []
        for label in scene.labels:
            if label.id in self._dropped:
                found.left_out_objects["people decided to drop it"] += 1
            elif label.class_name not in self._class_ids:
                found.left_out_objects["its class is not in the ontology"] += 1
            elif CROWD in label.flags:
                found.left_out_objects["it is a group that nobody counted"] += 1
                groups.append(label)
            elif (line := self._line(label, scene.size_wh, found)) is None:
                found.left_out_objects["nothing of it is inside the image"] += 1
            else:
                same = as_read(line)
                found.left_out_objects["the same label is there already"] += same in lines
                lines.setdefault(same, line)
                weights[same] = max(weights.get(same, 0.0), self._weight(scene, part, label))
        ordered = sorted(lines, key=lines.__getitem__)
        return Example(
            scene.sha256,
            part,
            scene.reviewed,
            tuple(lines[same] for same in ordered),
            tuple(weights[same] for same in ordered),
            tuple(sorted(set(self._ignored(scene, groups)))) if part == "train" else (),
            frozenset(int(line.partition(" ")[0]) for line in lines.values()),
        )

    def _line(self, label: Annotation, size_wh: tuple[int, int], found: Examples) -> str | None:
        class_id = self._class_ids[label.class_name]
        box = yolo.box_line(class_id, label.box_xyxy, size_wh)
        if box is None or self._taken.task == "detect":
            return box
        shape = yolo.segment(label.rle) if label.rle else None
        line = yolo.segment_line(class_id, shape.polygon, size_wh) if shape else None
        if line is not None and shape is not None:
            found.altered["a mask in several parts became one polygon"] += shape.parts > 1
            return line
        line = yolo.segment_line(class_id, yolo.box_polygon(label.box_xyxy), size_wh)
        found.altered["a box stands for the mask that nobody drew"] += line is not None
        return line

    def _weight(self, scene: Scene, part: str, label: Annotation) -> float:
        score = label.provenance.score
        if part != "train" or scene.reviewed or score is None or not (self._taken.weights and self._taken.soft):
            return 1.0
        return round(min(max(score, LEAST_WEIGHT), 1.0), 4)

    def _ignored(self, scene: Scene, groups: Iterable[Annotation]) -> Iterator[str]:
        if not (self._taken.ring and self._taken.soft):
            return
        faint = [(label.class_name, *label.box_xyxy) for label in groups]
        if not scene.reviewed:
            sql = "SELECT class_name, x0, y0, x1, y1 FROM faint WHERE sha256 = ?"
            faint += self._store.rows(sql, scene.sha256)
        for class_name, *box in faint:
            class_id = self._class_ids.get(class_name)
            line = None if class_id is None else yolo.box_line(class_id, box, scene.size_wh)
            if line is not None:
                yield line


def as_read(line: str) -> bytes:
    """Return what a trainer holds of a line: it drops a second label that is the same in single precision."""
    return np.array(line.split(), dtype=np.float32).tobytes()


def _unlabelled(store: Store, images: Iterable[str]) -> Counter[str]:
    """Say why images of a split have no scene."""
    dropped, states = DecisionLedger(store).images("drop", whole=True), store.states()
    reasons = {"skipped": "people skipped it", "quarantined": "it cannot be read"}
    return Counter(
        "people decided to drop it" if sha256 in dropped else reasons.get(states.get(sha256, ""), "it has no labels")
        for sha256 in images
    )
