"""A reviewer who knows the truth about drawn photos: answers in Label Studio, or in labels.db where there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..core import masks
from ..core.errors import StateError
from ..core.records import Annotation, Provenance
from ..core.store import Store
from ..formats.labelstudio import KEY
from ..project import Project
from ..studio.client import StudioClient
from ..studio.convert import regions
from ..studio.secrets import Secrets
from ..studio.target import find_target
from .scenes import Scene, Thing

SECONDS = 10.0
"""What one task is said to have taken."""

Truth = Mapping[str, tuple[tuple[int, int], Sequence[Annotation]]]
"""By the sha256 of a photo its size (width, height) in pixels and its exact labels."""


def truth(scenes: Iterable[Scene], names: Sequence[str]) -> Truth:
    """Return the truth about drawn photos; nouns that are none of the names are left out."""
    found: dict[str, tuple[tuple[int, int], Sequence[Annotation]]] = {}
    for scene in scenes:
        sha256 = hashlib.sha256(scene.jpeg).hexdigest()
        high, wide = scene.picture.shape[:2]
        things = [thing for thing in scene.things if thing.noun in names]
        found[sha256] = (wide, high), [_label(sha256, number, thing) for number, thing in enumerate(things)]
    return found


def review_in_studio(project: Project, known: Truth) -> int:
    """Submit the truth as the answer to every task that has none yet, and return to how many.

    Args:
        project: its own Label Studio is up, and its labels were pushed.
        known: the truth about every task.

    Raises:
        ServerError: the server refused or did not answer.
        StateError: no Label Studio of the project's own, or nothing was pushed to it.
    """
    secrets = Secrets.read(project)
    if secrets is None or secrets.url is None or secrets.token is None:
        raise StateError(f"{project.root}: has no Label Studio of its own: labelstill studio up")
    with project.open_store() as store, StudioClient(secrets.url, secrets.token) as client:
        target = find_target(store, client, local=True)
        waiting = [task for task in client.tasks(target.project_id, full=True) if not task["annotations"]]
        for task in waiting:
            size_wh, labels = known[task["data"][KEY]]
            answer = [regions(label, size_wh) for label in labels]
            client.create_annotation(task["id"], result=answer, lead_time=SECONDS)
    return len(waiting)


def review_in_store(store: Store, known: Truth) -> int:
    """Write the truth as what people say, and return for how many images."""
    for sha256, (_, labels) in known.items():
        store.set_reviewed(sha256, labels, "reviewed" if labels else "reviewed-empty")
    return len(known)


def scene_files(scenes: Iterable[Scene], folder: Path) -> None:
    """Write scenes as photos, leaving alone those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes, start=1):
        path = folder / f"scene-{number:03d}.jpg"
        if not path.exists():
            path.write_bytes(scene.jpeg)


def _label(sha256: str, number: int, thing: Thing) -> Annotation:
    made_up = hashlib.sha256(f"{sha256} {number}".encode()).hexdigest()[:32]
    whose = Provenance("human", annotator="renderer")
    return Annotation(made_up, sha256, thing.noun, thing.box_xyxy, whose, masks.encode(thing.mask))
