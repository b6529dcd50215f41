"""What the ledger of the hand-over knows: a project over there, a task, an answer, and what answers come to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .records import Annotation, ImageState

TaskState = Literal["intended", "sent", "withdrawn"]
AnswerKind = Literal["submitted", "skipped", "draft"]
Media = Literal["local", "upload"]


@dataclass(frozen=True, slots=True)
class Target:
    """One project on one Label Studio.

    Attributes:
        id: in labels.db.
        url: address of the server without a slash at the end.
        project_id: number of the project there.
        config: the labelling configuration as it was last written there.
        media: how pictures are handed over.
        pulled_until: newest change of a task that was read, in the server's words; None before the first pull.
    """

    id: int
    url: str
    project_id: int
    config: str
    media: Media
    pulled_until: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """One image on its way to people.

    Attributes:
        sha256: the image.
        task_id: number on the server; None until it is known.
        state: intended before anything is sent, sent once the server is known to have it, withdrawn where people
            deleted it.
        after_id: the highest task number on the server before the intent; a task that came of it has a higher one.
        content: hash of the labels that were pushed.
        model_version: name of the prediction.
        blind: pushed without its prediction.
        drawn: chosen by lot and not by need.
        attention: why no answer of the task could be taken; None where all is well.
    """

    sha256: str
    task_id: int | None
    state: TaskState
    after_id: int
    content: str
    model_version: str
    blind: bool = False
    drawn: bool = False
    attention: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said about one task, as Label Studio has it.

    Attributes:
        kind: submitted (also without regions), skipped, or a draft that was never submitted.
        answer_id: number of the annotation, or of the draft.
        task_id: number of the task.
        sha256: the image.
        annotator: mail address or name.
        created_at: time of the server, ISO 8601.
        updated_at: time of the last change.
        seconds: how long the person had the task open; None where the server does not say.
        from_prediction: the person began with the prediction.
        result: regions as the server gave them.
    """

    kind: AnswerKind
    answer_id: int
    task_id: int
    sha256: str
    annotator: str
    created_at: str
    updated_at: str
    seconds: float | None
    from_prediction: bool
    result: list[Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answers of one task come to.

    Attributes:
        sha256: the image.
        answers: all answers that the task has now; earlier ones are forgotten.
        state: reviewed, reviewed-empty or skipped; ``pushed`` where nobody's answer counts (any more).
        annotations: what people said, for the state reviewed.
        attention: why no answer could be taken.
    """

    sha256: str
    answers: tuple[Answer, ...]
    state: ImageState
    annotations: tuple[Annotation, ...] = ()
    attention: str | None = None


def content_hash(annotations: Sequence[Annotation]) -> str:
    """Return 16 hex digits over the ids of labels, which are themselves functions of their content."""
    return hash_of(annotation.id for annotation in annotations)


def hash_of(names: Iterable[str]) -> str:
    """Return 16 hex digits over the ids of labels."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
