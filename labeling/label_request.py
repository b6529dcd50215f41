"""What `labelstill label` was asked for, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """What the user asked for; None leaves a choice to project.yaml, and then to the default.

    Attributes:
        photos: folders, image files and video files.
        project: project folder; made where there is none.
        classes: short form, ``a, b: prompt | prompt``.
        ontology: file with the classes; not beside ``classes``.
        batch: files per batch, or "auto".
        limit: read at most this many files, and take at most so many frames from a stream.
        streams: addresses of streams and cameras, with their credentials.
        every: seconds of a video after which a frame is taken even if nothing has changed.
        fps: most frames taken per second of a video.
        seconds: how long a stream is recorded.
        propagate: follow the objects of labelled frames through the frames between them.
        propagate_every: every how many frames of the video get labels then.
        The others: see ``backends.TeacherSpec``.
    """

    photos: tuple[Path, ...]
    project: Path = Path()
    classes: str | None = None
    ontology: Path | None = None
    detector: str | None = None
    weights: str | None = None
    class_names: Path | None = None
    segmenter: str | None = None
    segmenter_weights: str | None = None
    score: float | None = None
    device: str | None = None
    batch: str | None = None
    limit: int | None = None
    trust_weights: bool = False
    embeddings: Path | None = None
    exemplars: Path | None = None
    prompts_per_pass: int | None = None
    tile: int | None = None
    streams: tuple[str, ...] = ()
    every: float = 10.0
    fps: float = 2.0
    seconds: float = 60.0
    propagate: bool = False
    propagate_every: int = 5
