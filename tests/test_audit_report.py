"""What people changed, in the report: the figures of the audit, the worst as pictures, every name only text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from labeling.core.store_studio import StudioLedger, Verdict
from labeling.images import load
from labeling.project import Project
from labeling.report import render
from tests import made_stores as made
from tests.made_reviews import Desk, drawn, left
from tests.made_stores import Thing
from tests.test_report import Page

HOSTILE = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(2)<script>"
CLASSES = ("disc", HOSTILE)
SIZE = (160, 120)
LOAD = partial(load, max_pixels=10**8)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One photo under a hostile name, whose four claims a hostile person kept, moved, relabelled and deleted."""
    things = (
        Thing("disc", (10, 10, 50, 50), 0.9, masked=True),
        Thing("disc", (60, 10, 100, 50), 0.8),
        Thing("disc", (110, 10, 150, 50), 0.7),
        Thing(HOSTILE, (10, 60, 50, 100), 0.6),
    )
    photo = made.photo(tmp_path / "photos" / f"{SCRIPT}.png", things, SIZE)
    outcome = made.outcome([photo], things, SIZE)
    one, two, three, _ = outcome.annotations
    project = Project.create(tmp_path / "project", made.ontology(CLASSES))
    with project.open_store(create=True) as store:
        desk = Desk(store, CLASSES, SIZE)
        desk.push(photo.name, outcome.annotations, outcome=outcome)
        regions = [one, left(two, box=(60, 10, 100, 34)), left(three, class_name=HOSTILE)]
        regions.append(drawn(photo.name, "disc", (60, 60, 100, 100)))
        desk.answer(photo.name, regions, by=f"{SCRIPT}@x.org", seconds=12, sha256=outcome.sha256)
    return project


def section(project: Project) -> tuple[str, Page]:
    with project.open_store() as store:
        html, _ = render(store, project.ontology, project.root, LOAD)
    if '<section id="audit">' not in html:
        return "", Page(html)
    part = html[html.index('<section id="audit">') : html.index('<section id="left-out">')]
    return part, Page(part)


def test_figures_are_those_of_the_audit(project: Project) -> None:
    _, page = section(project)
    assert "1 image reviewed." in page.text
    # Kept, and moved to an IoU of 0.6: two of three; of four objects, the deleted one is none.
    assert "disc 0.67 (0.21 to 0.94) 0.67 (0.21 to 0.94) 1 1 1 0 1 0.60" in page.text
    assert f"Relabelled: disc to {HOSTILE} 1." in page.text
    assert "Seconds per image 12.0 (half of them 12.0 to 12.0, n 1) not measured not measured" in page.text
    assert f"{SCRIPT}@x.org 1 0% 12.0 0% of 1" in page.text


def test_worst_are_drawn_dashed_for_the_teacher_and_solid_for_people(project: Project) -> None:
    part, page = section(project)
    assert len(page.all("figure")) == 4
    boxes = [rect for rect in page.all("rect") if rect.get("class") == "box"]
    # Deleted has one dashed box, added one solid one, relabelled and moved have both.
    assert [bool(rect.get("stroke-dasharray")) for rect in boxes].count(True) == 3
    assert len(boxes) == 6
    captions = [words for words in page.words if words.startswith(("deleted", "added", "moved", "relabelled"))]
    assert captions == ["deleted", "added", "relabelled", "moved, IoU 0.60"]
    assert page.all("svg")[-2]["aria-label"] == f"{SCRIPT}.png: relabelled disc to {HOSTILE}, score 0.70"
    assert part.count("data:image/jpeg;base64,") == 4


def test_hostile_names_are_text(project: Project) -> None:
    part, page = section(project)
    assert HOSTILE in page.text
    assert f"{SCRIPT}.png" in page.text
    assert HOSTILE not in part
    assert "<script" not in part
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "link", "img", "object", "form"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


def test_photo_that_is_gone_is_left_out_of_the_worst_and_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "photos" / f"{SCRIPT}.png").unlink()
    part, page = section(project)
    assert "1 image reviewed." in page.text
    assert "<figure" not in part
    with project.open_store() as store:
        html, _ = render(store, project.ontology, project.root, LOAD)
    assert "Photos that could not be drawn here (1)" in Page(html).text


def test_agreement_is_shown_once_two_people_have_seen_an_image(project: Project) -> None:
    assert "How far people agree" not in section(project)[1].text
    with project.open_store() as store:
        ledger = StudioLedger(store)
        (target,), (answer,) = ledger.targets(), ledger.answers()
        stands = tuple(store.annotations_of(answer.sha256, "human"))
        other = replace(answer, answer_id=2, annotator="bob@x.org", result=answer.result[:3])
        ledger.commit_verdicts(target, [Verdict(answer.sha256, (answer, other), "reviewed", stands)])
    _, page = section(project)
    assert "2 people on 1 of 1 image with an answer, 4 objects." in page.text
    assert "1 image reviewed." in page.text


def test_report_has_no_such_section_before_anybody_answered(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", made.ontology(CLASSES))
    with project.open_store(create=True) as store:
        Desk(store, CLASSES).push("a.png", [])
    part, page = section(project)
    assert part == ""
    assert "What people changed" not in page.text
