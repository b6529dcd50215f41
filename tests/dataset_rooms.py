"""A project with drawn photos and labels made by hand, to be cut into parts by hand and written for a trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.dataset import Dataset, materialise
from distill.split import Split, SplitSettings
from labeling.core.records import ImageState
from labeling.core.store import Store
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader
from tests.made_stores import Box, Thing, human, ontology, outcome, photo, write

CLASSES = ("red", "green")
BOX: Box = (10.0, 20.0, 50.0, 80.0)
OTHER: Box = (120.0, 40.0, 140.0, 80.0)


@dataclass(slots=True)
class DatasetRoom:
    """An open project; its photos are 160 x 120 pixels."""

    project: Project
    store: Store
    photos: Path

    @classmethod
    def of(cls, root: Path, names: Sequence[str] = CLASSES) -> DatasetRoom:
        """Make a project without photos."""
        project = Project.create(root / "project", ontology(names))
        store = project.open_store(create=True)
        store.write_classes(project.ontology)
        return cls(project, store, root / "photos")

    def machine(self, name: str, things: Sequence[Thing] = (), seed: int = 0) -> str:
        """Add a drawn photo that only the teacher has seen; return its sha256."""
        return self.take(photo(self.photos / name, things, seed=seed), things)

    def reviewed(self, name: str, things: Sequence[Thing] = (), seed: int = 0) -> str:
        """Add a drawn photo whose boxes people have drawn; return its sha256."""
        sha256 = self.machine(name, things, seed)
        self.review(sha256, things)
        return sha256

    def take(self, path: Path, things: Sequence[Thing] = ()) -> str:
        """Add the photo in a file with what a teacher says about it; return its sha256."""
        made = outcome([path], things)
        write(self.store, self.project.ontology.names, [made])
        return str(made.sha256)

    def review(self, sha256: str, things: Sequence[Thing]) -> None:
        """Let people say that these are the objects, or that there is none."""
        state: ImageState = "reviewed" if things else "reviewed-empty"
        self.store.set_reviewed(sha256, [human(sha256, one.class_name, one.box) for one in things], state)

    def faint(self, sha256: str, class_name: str, box: Box) -> None:
        """Add a box that the teacher was not sure enough of."""
        sql = "INSERT INTO faint (sha256, class_name, x0, y0, x1, y1, score) VALUES (?, ?, ?, ?, ?, ?, 0.2)"
        with self.store.transaction() as db:
            db.execute(sql, (sha256, class_name, *box))

    def written(self, train: Iterable[str] = (), val: Iterable[str] = (), **settings: Any) -> Dataset:
        """Write the dataset of these parts."""
        return materialise(self.project, self.store, cut(train, val), self.photo_source().photo, **settings)

    def photo_source(self) -> StoredPhotos:
        """Return what decodes the photos."""
        return StoredPhotos(self.store, loader(self.project.config.images))


def cut(train: Iterable[str] = (), val: Iterable[str] = (), test: Iterable[str] = (), **settings: Any) -> Split:
    """Return a split by hand."""
    parts: dict[str, Any] = dict.fromkeys(train, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    return Split("default", SplitSettings(**settings), parts, {}, {sha256: sha256 for sha256 in parts}, {}, ())


def text_of(dataset: Dataset, sha256: str, part: str = "train", kind: str = "labels") -> str:
    """Return what stands in the file about one image."""
    return (dataset.path / kind / part / f"{sha256[:16]}.txt").read_text()
