"""labels.db to FiftyOne and back: the dataset shows what labels.db holds, and tags become decisions exactly once."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill import curate
from distill.curate import apply, build, pending
from distill.curation import datasets, views
from distill.curation.doubts import KINDS
from distill.curation.samples import Looks, Remarks, sample
from distill.curation.scenes import Scene
from labeling.core import masks
from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from tests.curated import CLASSES, THINGS, Curated, curated, findings, suspect
from tests.made_stores import ellipse, ontology, outcome, photo, write

pytestmark = pytest.mark.server


@pytest.fixture
def room(tmp_path: Path, fiftyone_home: Any) -> Iterator[Curated]:
    made = curated(tmp_path)
    yield made
    made.store.close()
    for name in datasets.names(made.project):
        datasets.delete(name)


@pytest.fixture
def fo(fiftyone_home: Any) -> Any:
    return fiftyone_home


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


# What is shown


def test_every_image_is_a_sample_with_its_boxes_and_where_they_come_from(room: Curated, fo: Any) -> None:
    missing = suspect("missing", None, room.claim("b.png", 1), 0.9, "teacher")
    wrong = suspect("wrong class", room.label("b.png"), room.claim("b.png"), 0.7, "teacher", "looks")
    dataset = opened(fo, room, findings([missing, wrong]))
    assert dataset.name.startswith("labelstill-t-1-") or dataset.name.startswith("labelstill-")
    assert dataset.persistent
    assert set(dataset.values("labelstill_id")) == set(room.sha256.values())
    shown = of(dataset, room, "b.png")
    assert (shown.filepath, shown.state, shown.suspicion) == (str(room.path("b.png")), "reviewed", 0.9)
    assert (shown.metadata.width, shown.metadata.height) == (160, 120)
    (label,) = shown.labels.detections
    assert (label.label, label.labelstill_id, label.source, label.annotator) == (
        "pallet",
        room.label("b.png").id,
        "human",
        "ann",
    )
    assert label.bounding_box == pytest.approx([16 / 160, 12 / 120, 32 / 160, 48 / 120])
    assert (label.suspicion, label.kind, label.signals) == (0.7, "wrong class", ["teacher", "looks"])
    assert label.why == "teacher says so; looks says so"
    assert label.confidence is None
    claims = shown.claims.detections
    assert [(one.label, one.confidence, one.model, one.prompt) for one in claims] == [
        ("box", 0.8, "drawn/1", "a box"),
        ("pallet", 0.97, "drawn/1", "a pallet"),
    ]
    (candidate,) = shown.missing.detections
    assert (candidate.labelstill_id, candidate.kind, candidate.suspicion) == (claims[1].labelstill_id, "missing", 0.9)
    assert not of(dataset, room, "a.jpg").claims.detections


def test_a_mask_is_the_part_of_the_whole_mask_inside_its_box(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    first = of(dataset, room, "a.jpg").labels.detections[0]
    whole = ellipse(THINGS[0].box, (160, 120))
    assert np.array_equal(first.mask, whole[12:60, 16:48])


def test_the_sidebar_offers_every_field_of_a_box(room: Curated, fo: Any) -> None:
    schema = opened(fo, room).get_field_schema(flat=True)
    for boxes in ("labels", "missing", "claims"):
        for name in ("suspicion", "kind", "why", "source", "model", "annotator", "prompt", "labelstill_id", "signals"):
            assert f"{boxes}.detections.{name}" in schema
    for name in ("state", "suspicion", "brightness", "sharpness", "near_duplicates", "keep", "gap", "labelstill_id"):
        assert name in schema


def test_facts_groups_and_gaps_of_the_photos_are_shown(room: Curated, fo: Any) -> None:
    a, b, c = room.sha256.values()
    with room.store.transaction() as db:
        db.execute("INSERT INTO photo_facts VALUES (?, 0.25, 0.1, 12.5, 'Cam X', NULL, x'00')", (a,))
    found = findings(
        groups=[{"kind": "near", "members": (b, a)}, {"kind": "sequence", "members": (c,)}],
        pairs=[{"first": b, "second": a, "similarity": 0.96}],
        gaps=[(c,)],
    )
    dataset = opened(fo, room, found)
    first, second, third = (of(dataset, room, name) for name in room.sha256)
    assert (first.brightness, first.sharpness, first.camera, second.brightness) == (0.25, 12.5, "Cam X", None)
    assert (first.near_duplicates, first.keep, second.near_duplicates, second.keep) == (1, False, 1, True)
    assert (first.similarity, third.similarity) == (0.96, None)
    assert (third.near_duplicates, third.series, third.gap, first.gap) == (None, 2, 1, None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_of_a_marked_corner_lies_on_it_however_the_camera_was_held(
    tmp_path: Path, fo: Any, orientation: int
) -> None:
    upright = np.full((60, 100, 3), 90, dtype=np.uint8)
    upright[5:20, 70:95] = (250, 20, 20)
    # What the camera stores, so that a viewer who turns it by the tag sees it upright.
    stored = {
        1: lambda one: one,
        2: lambda one: one[:, ::-1],
        3: lambda one: one[::-1, ::-1],
        4: lambda one: one[::-1],
        5: lambda one: one.transpose(1, 0, 2),
        6: lambda one: np.rot90(one),
        7: lambda one: one[::-1, ::-1].transpose(1, 0, 2),
        8: lambda one: np.rot90(one, -1),
    }[orientation](upright)
    path = tmp_path / "photos" / "held.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=98, subsampling=0)
    project = Project.create(tmp_path / "project", ontology(CLASSES))
    with project.open_store(create=True) as store:
        from tests.made_stores import Thing

        write(store, CLASSES, [outcome([path], [Thing("box", (70.0, 5.0, 95.0, 20.0))], (100, 60))])
        (shown,) = fo.load_dataset(build(project, store, findings()).name)
        with Image.open(shown.filepath) as picture:
            assert picture.getexif().get(274, 1) == 1
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert (shown.filepath == str(path)) == (orientation == 1)
        height, width = pixels.shape[:2]
        x, y, wide, high = shown.labels.detections[0].bounding_box
        box = [round(x * width), round(y * height), round((x + wide) * width), round((y + high) * height)]
        red = (pixels[..., 0] > 200) & (pixels[..., 1] < 80)
        rows, columns = np.nonzero(red)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.subtract(box, found)).max() <= 1
        datasets.delete(datasets.names(project)[0])


def test_pictures_that_browsers_do_not_show_are_copied_and_no_photo_changes(tmp_path: Path, fo: Any) -> None:
    room = curated(tmp_path, ["scan.tif", "plain.png", "plain.bmp"], reviewed="")
    before = {name: room.path(name).read_bytes() for name in room.sha256}
    shown = {one.name.rpartition("/")[2]: Path(one.filepath) for one in opened(fo, room)}
    media = room.project.root / "curation" / "media"
    assert shown["scan.tif"].is_relative_to(media)
    assert shown["scan.tif"].suffix == ".png"
    assert (shown["plain.png"], shown["plain.bmp"]) == (room.path("plain.png"), room.path("plain.bmp"))
    assert before == {name: room.path(name).read_bytes() for name in room.sha256}
    shutil.rmtree(media)
    opened(fo, room)
    assert shown["scan.tif"].is_file()
    datasets.delete(datasets.names(room.project)[0])


def test_images_whose_photo_is_gone_or_another_one_are_left_out_by_name(room: Curated, fo: Any) -> None:
    room.path("a.jpg").unlink()
    photo(room.path("c.jpg"), seed=99)
    built = build(room.project, room.store, findings())
    assert built.left_out == {
        str(room.path("a.jpg")): "the photo is gone: put it back",
        str(
            room.path("c.jpg")
        ): "the file holds another picture than the one that was labelled: run labelstill label again",
    }
    assert built.images == 1
    photo(room.path("a.jpg"), THINGS, seed=0)
    assert build(room.project, room.store, findings()).images == 2


@pytest.mark.parametrize(
    "box", [(1.0, 1.0, math.nan, 5.0), (-9.0, 0.0, 20.0, 20.0), (0.0, 0.0, 20.0, 300.0), (1.0, 1.0, math.inf, 9.0)]
)
def test_a_box_outside_the_picture_is_refused_with_the_name_of_the_image(box: Any, fo: Any) -> None:
    from tests.outcomes import machine

    good = machine("x", 1, rle=None)
    bad = machine("x", 2, rle=None, box_xyxy=box)
    scene = Scene("5" * 64, "/photos/x.jpg", (20, 20), "prelabelled", (bad, good), ())
    made, refused = sample(scene, "/photos/x.jpg", Remarks())
    assert [one.labelstill_id for one in made.labels.detections] == [good.id]
    assert len(refused) == 1
    assert refused[0].startswith("/photos/x.jpg: box (")


def test_numbers_out_of_range_are_refused_with_the_name_of_the_image(fo: Any) -> None:
    from tests.outcomes import machine

    label = machine("x", 1, rle=None)
    wild = replace(label, provenance=replace(label.provenance, score=1.5))
    off = suspect("spurious", label, None, math.nan, "looks")
    scene = Scene(label.sha256, "/photos/x.jpg", (20, 20), "prelabelled", (wild, label), ())
    remarks = Remarks(suspects={label.id: off}, looks=Looks(brightness=math.nan, sharpness=-1.0, similarity=2.0))
    made, refused = sample(scene, "/photos/x.jpg", remarks)
    assert (made.brightness, made.sharpness, made.similarity, made.suspicion) == (None, None, None, 0.0)
    assert not made.labels.detections
    assert [line.split(":")[0] for line in refused] == ["/photos/x.jpg"] * 5


def test_a_large_mask_is_thinned_out_and_keeps_its_shape() -> None:
    from distill.curation.samples import _mask

    whole = ellipse((100.0, 50.0, 1900.0, 1150.0), (2000, 1200))
    thin = _mask(masks.encode(whole), (100, 50, 1900, 1150), (2000, 1200))
    assert np.array_equal(thin, whole[50:1150, 100:1900][::4, ::4])


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


# Back


def test_tags_become_decisions_once_and_removing_one_takes_it_back(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "Relabel: the left wheel", "split test")
    tag(dataset, room, "c.jpg", "duplicate-of: A.JPG", "what a day")
    tag_label(dataset, room, "b.png", "ok")
    assert {one.decision for one in pending(room.store, dataset.name)[0]} == {
        "relabel",
        "split-test",
        "duplicate-of",
        "note",
        "ok",
    }
    applied = apply(room.project, room.store)
    assert (len(applied.added), applied.removed, applied.unchanged, applied.problems) == (5, (), 0, ())
    assert decided(room) == {
        ("a.jpg", "", "relabel", "the left wheel"),
        ("a.jpg", "", "split-test", ""),
        ("c.jpg", "", "duplicate-of", room.sha256["a.jpg"]),
        ("c.jpg", "", "note", "what a day"),
        ("b.png", room.label("b.png").id, "ok", ""),
    }
    again = apply(room.project, room.store)
    assert (again.added, again.removed, again.unchanged) == ((), (), 5)
    assert pending(room.store, dataset.name) == ([], [])

    rebuilt = opened(fo, room)
    assert sorted(of(rebuilt, room, "a.jpg").tags) == ["relabel: the left wheel", "split-test"]
    assert sorted(of(rebuilt, room, "c.jpg").tags) == ["duplicate-of: a.jpg", "what a day"]
    one = of(rebuilt, room, "a.jpg")
    one.tags = ["split-test"]
    one.save()
    one = of(rebuilt, room, "b.png")
    one.labels.detections[0].tags = []
    one.save()
    back = apply(room.project, room.store)
    assert {one.decision for one in back.removed} == {"relabel", "ok"}
    assert {row[2] for row in decided(room)} == {"split-test", "duplicate-of", "note"}


def test_a_tag_that_cannot_be_read_is_named_and_stays(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "duplicate-of: nowhere.jpg", "drop")
    for _ in range(2):
        applied = apply(room.project, room.store)
        (problem,) = applied.problems
        assert problem.startswith("a.jpg: tag 'duplicate-of: nowhere.jpg': no image has the name")
    assert decided(room) == {("a.jpg", "", "drop", "")}
    dataset = opened(fo, room)
    assert sorted(of(dataset, room, "a.jpg").tags) == ["drop", "duplicate-of: nowhere.jpg"]


def test_a_duplicate_without_a_name_is_one_of_the_image_to_keep(room: Curated, fo: Any) -> None:
    members = (room.sha256["c.jpg"], room.sha256["a.jpg"])
    dataset = opened(fo, room, findings(groups=[{"kind": "near", "members": members}]))
    for name in room.sha256:
        tag(dataset, room, name, "duplicate-of")
    applied = apply(room.project, room.store)
    assert decided(room) == {("a.jpg", "", "duplicate-of", room.sha256["c.jpg"])}
    assert sorted(problem.split(":")[0] for problem in applied.problems) == ["b.png", "c.jpg"]


def test_what_others_decided_meanwhile_stays(room: Curated, fo: Any) -> None:
    a, b = room.sha256["a.jpg"], room.sha256["b.png"]
    ledger = DecisionLedger(room.store)
    ledger.change([Decided(a, "ok"), Decided(b, "note", "mine")])
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "split-test")
    tag(dataset, room, "b.png", "tagged")
    ledger.change([Decided(a, "note", "theirs"), Decided(b, "note", "mine; theirs")], [Decided(a, "ok")])
    apply(room.project, room.store)
    assert decided(room) == {
        ("a.jpg", "", "note", "theirs"),
        ("a.jpg", "", "split-test", ""),
        ("b.png", "", "note", "mine; theirs; tagged"),
    }


def test_an_object_drawn_or_an_image_added_in_the_app_is_a_problem_and_stops_nothing(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    one = of(dataset, room, "a.jpg")
    one.labels.detections.append(fo.Detection(label="box", bounding_box=[0, 0, 0.1, 0.1], tags=["drop"]))
    one.save()
    dataset.add_sample(fo.Sample(filepath=str(room.path("a.jpg")) + "x.jpg", tags=["drop"]))
    tag(dataset, room, "c.jpg", "drop")
    applied = apply(room.project, room.store)
    assert decided(room) == {("c.jpg", "", "drop", "")}
    assert len(applied.problems) == 2


def _apply_and_die(root: Path, settings: dict[str, str], where: str) -> None:
    os.environ.update(settings)
    import fiftyone

    fiftyone.list_datasets()
    project = Project.open(root)

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with project.open_store() as store:
        if where == "before labels.db":
            DecisionLedger.change = die  # type: ignore[assignment, method-assign]
        elif where == "before FiftyOne":
            datasets.bring_up = die  # type: ignore[assignment]
        apply(project, store)


def _child(room: Curated, fo: Any, where: str) -> Any:
    uri = f"mongodb://127.0.0.1:{fo.core.odm.database._connection_kwargs['port']}"
    settings = {name: value for name, value in os.environ.items() if name.startswith("FIFTYONE_")}
    settings["FIFTYONE_DATABASE_URI"] = uri
    child = multiprocessing.get_context("spawn").Process(
        target=_apply_and_die, args=(room.project.root, settings, where)
    )
    child.start()
    return child


@pytest.mark.parametrize("where", ["before labels.db", "before FiftyOne"])
def test_an_apply_that_was_killed_is_finished_by_the_next(room: Curated, fo: Any, where: str) -> None:
    DecisionLedger(room.store).change([Decided(room.sha256["b.png"], "drop")])
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "relabel: wheel")
    one = of(dataset, room, "b.png")
    one.tags = []
    one.save()
    child = _child(room, fo, where)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    reached = where == "before FiftyOne"
    assert decided(room) == ({("a.jpg", "", "relabel", "wheel")} if reached else {("b.png", "", "drop", "")})
    applied = apply(room.project, room.store)
    assert (len(applied.added), len(applied.removed)) == ((0, 0) if reached else (1, 1))
    assert decided(room) == {("a.jpg", "", "relabel", "wheel")}
    assert pending(room.store, dataset.name) == ([], [])


def test_two_applies_at_once_are_one(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    for name in room.sha256:
        tag(dataset, room, name, "relabel")
    children = [_child(room, fo, "") for _ in range(2)]
    for child in children:
        child.join(180)
    assert [child.exitcode for child in children] == [0, 0]
    assert decided(room) == {(name, "", "relabel", "") for name in room.sha256}
    assert pending(room.store, dataset.name) == ([], [])


def test_deleting_the_database_loses_nothing_that_was_applied(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    tag(dataset, room, "a.jpg", "drop", "dark")
    apply(room.project, room.store)
    for name in datasets.names(room.project):
        fo.delete_dataset(name)
    assert sorted(of(opened(fo, room), room, "a.jpg").tags) == ["dark", "drop"]


# Saved views


def test_saved_views_answer_the_questions_of_the_day(room: Curated, fo: Any) -> None:
    a, b, c = room.sha256.values()
    with room.store.transaction() as db:
        for sha256, value in ((a, 0.9), (b, 0.1), (c, 0.5)):
            db.execute("INSERT INTO photo_facts VALUES (?, ?, 0.1, ?, NULL, NULL, x'00')", (sha256, value, value * 9))
    DecisionLedger(room.store).change([Decided(c, "ok", annotation_id=room.label("c.jpg").id)])
    suspects = [
        suspect("missing", None, room.claim("b.png", 1), 0.9, "teacher"),
        suspect("wrong class", room.label("b.png"), room.claim("b.png"), 0.8, "teacher"),
        suspect("bad box", room.label("a.jpg"), None, 0.5, "geometry"),
        suspect("spurious", room.label("a.jpg", 1), None, 0.0),
    ]
    found = findings(suspects, groups=[{"kind": "near", "members": (c, a)}], gaps=[(b,)])
    dataset = opened(fo, room, found)
    name_of = {sha256: name for name, sha256 in room.sha256.items()}

    def shown(view: str) -> list[str]:
        return [name_of[sha256] for sha256 in dataset.load_saved_view(view).values("labelstill_id")]

    assert shown(views.WRONG) == ["b.png", "a.jpg"]
    assert [len(one or ()) for one in dataset.load_saved_view(views.WRONG).values("labels.detections")] == [1, 1]
    assert {kind: shown(views.wrong(kind)) for kind in KINDS} == {
        "missing": ["b.png"],
        "spurious": [],
        "wrong class": ["b.png"],
        "bad box": ["a.jpg"],
        "duplicate box": [],
    }
    assert shown(views.TWINS) == ["c.jpg", "a.jpg"]
    assert shown(views.DISAGREE) == ["b.png"]
    assert shown(views.NEVER_SEEN) == ["b.png"]
    assert shown(views.DARK) == shown(views.BLURRED) == ["b.png", "c.jpg", "a.jpg"]
    assert shown(views.DECIDED) == ["c.jpg"]
    thin = dataset.load_saved_view(views.THIN)
    assert {label for labels in thin.values("labels.detections.label") for label in labels} == {"pallet"}
    described = dataset.get_saved_view_info(views.DISAGREE)["description"]
    assert described.startswith("1 images. People have reviewed these")


@pytest.mark.slow
def test_ten_thousand_images_are_shown_in_minutes(tmp_path: Path, fo: Any) -> None:
    import time

    from tests.outcomes import machine
    from tests.outcomes import outcome as plain

    project = Project.create(tmp_path / "project", ontology(CLASSES))
    one = photo(tmp_path / "one.jpg", THINGS)
    with project.open_store(create=True) as store:
        _write_many(store, one, 10_000, machine, plain)
        started = time.monotonic()
        built = build(project, store, findings())
        seconds = time.monotonic() - started
        assert built.images == 10_000
        assert seconds < 600, f"{built.images} images of 5 boxes took {seconds:.0f} s"
        datasets.delete(built.name)


def _write_many(store: Store, one: Path, images: int, machine: Any, plain: Any) -> None:
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
