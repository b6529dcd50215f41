"""labels.db to FiftyOne and back: one dataset per content, and tags that become decisions exactly once."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill import curate
from distill.curate import apply, build, pending
from distill.curation import datasets
from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from tests.curated import (
    CLASSES,
    THINGS,
    Curated,
    curated,
    decided,
    findings,
    of,
    opened,
    tag,
    tag_label,
)
from tests.made_stores import ontology, photo, write
from tests.outcomes import machine
from tests.outcomes import outcome as plain

pytestmark = pytest.mark.server


# One dataset per content


def test_the_same_content_is_the_same_dataset_and_another_one_replaces_it(room: Curated, fo: Any) -> None:
    first = build(room.project, room.store, findings())
    again = build(room.project, room.store, findings())
    assert (first.reused, again.reused, first.name) == (False, True, again.name)
    DecisionLedger(room.store).change([Decided(room.sha256["a.jpg"], "drop")])
    changed = build(room.project, room.store, findings())
    assert changed.name != first.name
    assert datasets.names(room.project) == [changed.name]
    assert of(fo.load_dataset(changed.name), room, "a.jpg").tags == ["drop"]


def test_a_dataset_that_was_cut_off_is_made_again(room: Curated, fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(curate, "save_views", cut)
    with pytest.raises(KeyboardInterrupt):
        build(room.project, room.store, findings())
    monkeypatch.undo()
    (half,) = datasets.names(room.project)
    with pytest.raises(StateError, match="no such dataset"):
        pending(room.store, half)
    built = build(room.project, room.store, findings())
    assert (built.name, built.reused, built.images) == (half, False, 3)
    assert fo.load_dataset(half).list_saved_views()


def test_two_projects_of_one_name_have_datasets_of_their_own(room: Curated, tmp_path: Path, fo: Any) -> None:
    other = curated(tmp_path / "elsewhere")
    names = {build(one.project, one.store, findings()).name for one in (room, other)}
    assert len(names) == 2
    build(room.project, room.store, findings(gaps=[(room.sha256["a.jpg"],)]))
    assert datasets.names(other.project)
    datasets.delete(datasets.names(other.project)[0])


def test_tags_that_were_never_applied_outlive_their_dataset(room: Curated, fo: Any) -> None:
    DecisionLedger(room.store).change([Decided(room.sha256["a.jpg"], "drop"), Decided(room.sha256["c.jpg"], "ok")])
    old = opened(fo, room)
    one = of(old, room, "a.jpg")
    one.tags = ["relabel: wheel"]
    one.save()
    tag_label(old, room, "b.png", "drop", boxes="claims", place=1)
    tag(old, room, "c.jpg", "blurry")
    room.path("c.jpg").unlink()
    new = opened(fo, room, findings(verdicts={}))
    assert new.name != old.name
    assert of(new, room, "a.jpg").tags == ["relabel: wheel"]
    assert of(new, room, "b.png").claims.detections[1].tags == ["drop"]
    applied = apply(room.project, room.store)
    assert decided(room) == {
        ("a.jpg", "", "relabel", "wheel"),
        ("b.png", room.claim("b.png", 1).id, "drop", ""),
        ("c.jpg", "", "ok", ""),
        ("c.jpg", "", "note", "blurry"),
    }
    assert not applied.problems
    again = apply(room.project, room.store)
    assert (again.added, again.removed) == ((), ())


@pytest.mark.slow
def test_ten_thousand_images_are_shown_in_minutes(tmp_path: Path, fo: Any) -> None:
    project = Project.create(tmp_path / "project", ontology(CLASSES))
    one = photo(tmp_path / "one.jpg", THINGS)
    with project.open_store(create=True) as store:
        _write_many(store, one, 10_000)
        started = time.monotonic()
        built = build(project, store, findings())
        seconds = time.monotonic() - started
        assert built.images == 10_000
        assert seconds < 600, f"{built.images} images of 5 boxes took {seconds:.0f} s"
        datasets.delete(built.name)


def _write_many(store: Store, one: Path, images: int) -> None:
    made = []
    for number in range(images):
        name = f"{number:05d}"
        labels = [machine(name, place, rle=None) for place in range(5)]
        path = one.parent / "many" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.link(one, path)
        info = path.stat()
        outcome_of = plain(name, *labels, paths=(str(path),))
        stamp = replace(outcome_of.files[0], size=info.st_size, mtime_ns=info.st_mtime_ns)
        made.append(replace(outcome_of, files=(stamp,)))
    write(store, CLASSES, made)
