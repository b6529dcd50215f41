"""A project with drawn photos, people's and a teacher's labels, and findings about them, for tests of its view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distill.curate import build
from distill.curation import datasets
from distill.curation.doubts import Suspect
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.project import Project
from tests.made_stores import Thing, human, ontology, outcome, photo, write

CLASSES = ("box", "pallet")
THINGS = (Thing("box", (16.0, 12.0, 48.0, 60.0), masked=True), Thing("pallet", (80.0, 30.0, 150.0, 110.0), 0.97))


@dataclass
class Curated:
    """The project, its open labels.db, and the sha256 of each photo by its name."""

    project: Project
    store: Store
    sha256: dict[str, str] = field(default_factory=dict)

    def label(self, name: str, place: int = 0) -> Annotation:
        """Return one of the labels that stand."""
        return self.store.annotations_of(self.sha256[name])[place]

    def claim(self, name: str, place: int = 0) -> Annotation:
        """Return one of the teacher's labels."""
        return self.store.annotations_of(self.sha256[name], "machine")[place]

    def path(self, name: str) -> Path:
        """Return where the photo lies."""
        return self.project.root.parent / "photos" / name


def curated(root: Path, names: Sequence[str] = ("a.jpg", "b.png", "c.jpg"), *, reviewed: str = "b.png") -> Curated:
    """Return a project whose photos all hold the same things; people have seen one box less in the reviewed one."""
    project = Project.create(root / "Été 1", ontology(CLASSES))
    store = project.open_store(create=True)
    made = Curated(project, store)
    outcomes = []
    for seed, name in enumerate(names):
        path = photo(root / "photos" / name, THINGS, seed=seed)
        made.sha256[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        outcomes.append(outcome([path], THINGS))
    write(store, CLASSES, outcomes)
    if reviewed in names:
        sha256 = made.sha256[reviewed]
        store.set_reviewed(sha256, [human(sha256, "pallet", THINGS[0].box)], "reviewed")
    return made


def twice_boxed(root: Path) -> Project:
    """Return a project of eight photos, and in one of them a disc that has two boxes."""
    disc, ladder = Thing("disc", (20, 20, 120, 90), 0.9, masked=True), Thing("ladder", (130, 20, 180, 100), 0.8)
    again, size_wh = Thing("disc", (21, 20, 121, 91), 0.7), (200, 140)
    project = Project.create(root / "yard", ontology(["disc", "ladder"]))
    outcomes = []
    for number in range(8):
        things = (disc, ladder, again) if number == 5 else (disc, ladder)
        path = photo(root / "photos" / f"{number}.png", things, size_wh, seed=number)
        outcomes.append(outcome([path], things, size_wh))
    with project.open_store(create=True) as store:
        write(store, ["disc", "ladder"], outcomes)
    return project


def suspect(kind: Any, label: Annotation | None, claim: Annotation | None, suspicion: float, *by: str) -> Suspect:
    """Return one row of the ranked list; the signals are named, and give their names as reasons."""
    there = label or claim
    assert there is not None
    return Suspect(there.sha256, kind, label, claim, suspicion, tuple(f"{name} says so" for name in by), by)


def findings(suspects: Sequence[Suspect] = (), **changes: Any) -> Any:
    """Return what curation found, with the parts that a view needs."""
    groups = [SimpleNamespace(**group) for group in changes.get("groups", ())]
    pairs = [SimpleNamespace(**pair) for pair in changes.get("pairs", ())]
    gaps = [SimpleNamespace(examples=examples) for examples in changes.get("gaps", ())]
    verdicts = changes.get("verdicts", {"box": "ready", "pallet": "too few"})
    return SimpleNamespace(
        suspects=tuple(suspects),
        duplicates=SimpleNamespace(groups=groups, pairs=pairs),
        balance=SimpleNamespace(
            classes=[SimpleNamespace(name=name, verdict=one) for name, one in verdicts.items()],
            slices=[SimpleNamespace(**one) for one in changes.get("slices", ())],
        ),
        coverage=SimpleNamespace(gaps=gaps),
    )


def forget(room: Curated) -> None:
    """Close labels.db and remove the datasets of the project."""
    room.store.close()
    for name in datasets.names(room.project):
        datasets.delete(name)


def opened(fo: Any, room: Curated, found: Any = None) -> Any:
    """Return the dataset of the project, built anew or found."""
    return fo.load_dataset(build(room.project, room.store, found or findings()).name, reload=True)


def of(dataset: Any, room: Curated, name: str) -> Any:
    """Return the sample of one photo."""
    return dataset.one({"labelstill_id": room.sha256[name]})


def tag(dataset: Any, room: Curated, name: str, *tags: str) -> None:
    """Tag an image as a person does."""
    one = of(dataset, room, name)
    one.tags = [*one.tags, *tags]
    one.save()


def tag_label(dataset: Any, room: Curated, name: str, *tags: str, boxes: str = "labels", place: int = 0) -> None:
    one = of(dataset, room, name)
    one[boxes].detections[place].tags += list(tags)
    one.save()


def decided(room: Curated) -> set[tuple[str, str, str, str]]:
    """Return every decision as name of the photo, id of the label, decision and note."""
    name_of = {sha256: name for name, sha256 in room.sha256.items()}
    return {
        (name_of[one.sha256], one.annotation_id, one.decision, one.note) for one in DecisionLedger(room.store).all()
    }
