"""A labels.db whose images were handed to people, and what they answered, written as `push` and `pull` write it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from labeling.core.records import Annotation, ImageState, Provenance
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_studio import Answer, StudioLedger, Task, Verdict, content_hash
from labeling.studio import convert
from labeling.studio.compare import compare, to_annotations
from tests import made_stores as made
from tests.made_stores import Box

SIZE = (100, 100)


def claim(name: str, number: int, class_name: str, box: Box, score: float | None = 0.9) -> Annotation:
    """Return what a teacher says about an image, by the name of the image."""
    identity = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:32]
    return Annotation(identity, sha(name), class_name, box, Provenance("teacher", model="drawn/1", score=score))


def left(claimed: Annotation, *, class_name: str | None = None, box: Box | None = None) -> Annotation:
    """Return a claim with another class or another place, as a person leaves it."""
    return replace(claimed, class_name=class_name or claimed.class_name, box_xyxy=box or claimed.box_xyxy)


def drawn(name: str, class_name: str, box: Box) -> Annotation:
    """Return what a person drew on an image."""
    identity = hashlib.sha256(f"{name} {class_name} {box}".encode()).hexdigest()[:10]
    return Annotation(identity, sha(name), class_name, box, Provenance("human"))


def sha(name: str) -> str:
    """Return the sha256 of the image with this name."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass
class Desk:
    """What is handed over and answered, one image at a time, in one project on Label Studio."""

    store: Store
    class_names: Sequence[str]
    size_wh: tuple[int, int] = SIZE
    pushed: dict[str, list[Annotation]] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    _answers: int = 0

    def __post_init__(self) -> None:
        self.ledger = StudioLedger(self.store)
        self.target = self.ledger.save_target("http://127.0.0.1:8080", 1, config="<View/>", media="local")

    def push(
        self,
        name: str,
        claims: Sequence[Annotation],
        *,
        blind: bool = False,
        by_lot: bool = False,
        outcome: ImageOutcome | None = None,
    ) -> None:
        """Label an image and hand it over."""
        file = FileStamp(f"/photos/{name}".encode(), 1, 1)
        outcome = outcome or ImageOutcome((file,), sha(name), *self.size_wh, annotations=tuple(claims), done_key="done")
        sha256 = outcome.sha256 or ""
        made.write(self.store, self.class_names, [outcome])
        task = Task(sha256, None, "intended", 0, content_hash(claims), "drawn/1", blind, by_lot)
        self.ledger.intend(self.target, [(task, claims)])
        self.ledger.confirm(self.target, {sha256: len(self.pushed) + 1})
        self.pushed[name] = list(claims)
        self.blind |= {name} if blind else set()

    def answer(
        self,
        name: str,
        regions: Sequence[Annotation] = (),
        *,
        kind: Literal["submitted", "skipped", "draft"] = "submitted",
        by: str = "ann@x.org",
        seconds: float | None = None,
        attention: str | None = None,
        others: Sequence[Answer] = (),
        sha256: str | None = None,
    ) -> Answer:
        """Let a person leave these regions; of others to the same image only the answers given here stay."""
        sha256 = sha256 or sha(name)
        self._answers += 1
        result = [convert.regions(annotation, self.size_wh) for annotation in regions]
        time = f"2026-11-22T10:00:{self._answers:06d}Z"
        who = (by, time, time, seconds, name not in self.blind)
        answer = Answer(kind, self._answers, 1 + list(self.pushed).index(name), sha256, *who, result)
        found, _ = convert.read(result, self.size_wh)
        said = tuple(to_annotations(compare(self.pushed[name], found, self.size_wh), sha256, by))
        state: ImageState = "reviewed" if said else "reviewed-empty"
        state = {"submitted": state, "skipped": "skipped", "draft": "pushed"}[kind] if not attention else "pushed"
        said = said if state == "reviewed" else ()
        self.ledger.commit_verdicts(self.target, [Verdict(sha256, (*others, answer), state, said, attention)])
        return answer
