"""The report: every figure as counted by hand, every hostile name escaped, nothing from outside."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from labeling.cli import main
from labeling.core.store import Store
from labeling.images import load
from labeling.project import Project
from labeling.report import SHEET_SIZE, UNSURE_SIZE, render
from labeling.video.ledger import FrameLedger
from labeling.video.taking import TakenFrame
from tests import made_stores as made
from tests.made_stores import Thing

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = ["disc", HOSTILE, "ladder"]
LOAD = partial(load, max_pixels=10**8)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three photos with two, one and no objects, one of them under a hostile name; one refused file."""
    photos = tmp_path / "photos"
    first = (Thing("disc", (10, 10, 90, 90), 0.9, masked=True), Thing(HOSTILE, (100, 20, 140, 60), 0.41))
    second = (Thing("disc", (20, 20, 60, 60), 0.3),)
    project = Project.create(tmp_path / "project", made.ontology(CLASSES))
    with project.open_store(create=True) as store:
        outcomes = [
            made.outcome([made.photo(photos / "1.png", first, seed=1)], first),
            made.outcome([made.photo(photos / "<script>alert(2)<script>.png", second, seed=2)], second),
            made.outcome([made.photo(photos / "empty.png", (), seed=3)], ()),
            made.refused(photos / "<b>bad.jpg", "truncated: <i>ends</i> early"),
        ]
        outcomes[0] = made.dropped(outcomes[0], {("score", "disc"): 7, ("nms", HOSTILE): 2})
        made.write(store, CLASSES, outcomes)
    return project


def page_of(project: Project) -> tuple[str, Page]:
    with project.open_store() as store:
        html, _ = render(store, project.ontology, project.root, LOAD)
    return html, Page(html)


def test_figures_are_those_of_the_labels(project: Project) -> None:
    _, page = page_of(project)
    assert "3 objects of 2 classes on 3 photos." in page.text
    assert "2 of 3 classes found" in page.text
    assert "Nothing was found of: ladder." in page.text
    assert "1 photo of 3 is without any object." in page.text
    assert "Boxes that the filters dropped (9)" in page.text
    assert "score too low disc 7" in page.text
    assert "Photos that could not be used (1)" in page.text
    assert "truncated: <i>ends</i> early" in page.text
    assert "overlapping tiles" not in page.text
    assert "frames of" not in page.text


def test_tiles_and_videos_are_told(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "filmed", made.ontology(["disc"]))
    things = [made.Thing("disc", (10, 10, 60, 60), 0.9)]
    outcomes = [made.outcome([made.photo(tmp_path / f"{n}.png", things, seed=n)], things) for n in range(4)]
    outcomes[0] = replace(outcomes[0], notes=("tiled",))
    with project.open_store(create=True) as store:
        made.write(store, ["disc"], outcomes)
        frames = [TakenFrame(n, n / 10, 0, outcomes[n].sha256 or "") for n in (1, 2, 3)]
        FrameLedger(store).record("film", frames[::2])
        FrameLedger(store).record("film", frames[1:2], picked=False)
        FrameLedger(store).write_tracks("film", {0: [(frame.sha256, frame.sha256) for frame in frames]})
    _, page = page_of(project)
    assert "1 photo was looked at in overlapping tiles." in page.text
    said = "2 frames of 1 video labelled, picked where the picture changes, 1 more between them got labels that were "
    assert f"{said}propagated; 1 object followed through several." in page.text


def test_every_photo_of_a_small_project_is_shown_with_its_objects(project: Project) -> None:
    html, page = page_of(project)
    sheet = html[html.index('<section id="sheet">') : html.index('<section id="unsure">')]
    assert len(Page(sheet).all("figure")) == 3
    assert len([rect for rect in Page(sheet).all("rect") if rect.get("class") == "box"]) == 3
    assert len([path for path in Page(sheet).all("path") if path.get("class") == "mask"]) == 1
    assert "The least sure 3" in page.text
    for image in page.all("image"):
        head, _, data = (image["href"] or "").partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(BytesIO(b64decode(data))) as picture:
            assert picture.format == "JPEG"
            assert 415 <= picture.width <= 420
            assert 310 <= picture.height <= 315


def test_least_sure_come_first_by_score(project: Project) -> None:
    html, _ = page_of(project)
    unsure = html[html.index('<section id="unsure">') : html.index('<section id="left-out">')]
    assert re.findall(r'class="tag"[^>]*>[^<]* (0\.\d+)</text>', unsure) == ["0.30", "0.41", "0.90"]


def test_hostile_names_are_text_and_nothing_comes_from_outside(project: Project) -> None:
    html, page = page_of(project)
    assert HOSTILE in page.text
    assert HOSTILE not in html
    assert "<script" not in html
    assert "<b>bad" not in html
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "link", "img", "object", "form"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("href", "src"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert not re.search(r"url\(|@import|https?://", html)


def test_policy_allows_the_style_sheet_by_its_hash_and_no_script(project: Project) -> None:
    html, page = page_of(project)
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert (policy or "").split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_photo_that_is_gone_or_changed_is_named_and_not_fatal(project: Project, tmp_path: Path) -> None:
    (tmp_path / "photos/1.png").unlink()
    made.photo(tmp_path / "photos/empty.png", (), seed=77)
    _, page = page_of(project)
    assert "Photos that could not be drawn here (2)" in page.text
    assert "missing: the file is gone" in page.text
    assert "changed: the file holds another image now" in page.text


def test_large_project_shows_a_sample_of_fixed_size(tmp_path: Path) -> None:
    things = (Thing("disc", (10, 10, 50, 50), 0.6),)
    with Store.open(tmp_path / "labels.db", create=True) as store:
        outcomes = [
            made.outcome([made.photo(tmp_path / f"{n:03d}.png", things, (64, 64), n)], things, (64, 64))
            for n in range(SHEET_SIZE + 10)
        ]
        made.write(store, CLASSES, outcomes)
        html, _ = render(store, made.ontology(CLASSES), tmp_path, LOAD)
        again, _ = render(store, made.ontology(CLASSES), tmp_path, LOAD)
    page = Page(html)
    assert len(page.all("figure")) == SHEET_SIZE + UNSURE_SIZE
    assert f"{SHEET_SIZE} of {SHEET_SIZE + 10} photos" in page.text
    assert page.all("image") == Page(again).all("image")


def test_project_without_labels_says_so(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", made.ontology(CLASSES))
    with project.open_store(create=True) as store:
        store.write_classes(project.ontology)
        html, _ = render(store, project.ontology, project.root, LOAD)
    assert "Nothing is labelled yet." in Page(html).text


def test_teacher_is_named_with_licences_weights_and_the_command_that_continues(
    project: Project, tmp_path: Path
) -> None:
    weights = tmp_path / "my weights.safetensors"
    weights.write_bytes(b"weights")
    with project.open_store() as store:
        teacher = {"detector": "ultralytics", "weights": str(weights), "segmenter": "none"}
        run = store.start_run("label", {"photos": ["/my photos"], "teacher": teacher, "scores": [0.25, 0.4]})
        store.finish_run(run, {"labelled": 0, "objects": {"disc": 2}})
    _, page = page_of(project)
    assert "Detector ultralytics Licence AGPL-3.0" in page.text
    assert f"sha256 {hashlib.sha256(b'weights').hexdigest()}" in page.text
    assert "Segmenter none" in page.text
    assert "Smallest score kept 0.25 to 0.4, by class" in page.text
    assert "label 0 s objects disc 2" in page.text
    command = f"labelstill label '/my photos' --project {project.root} --detector ultralytics --weights '{weights}'"
    assert command in page.text


def test_verb_writes_the_file_and_says_where(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--project", str(project.root), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["annotations"] == {"disc": 2, HOSTILE: 1, "ladder": 0}
    assert Path(answer["file"]) == project.root / "reports/report.html"
    assert Path(answer["file"]).stat().st_size == answer["bytes"]
    assert main(["report", "--project", str(project.root), "--out", str(tmp_path / "a/b.html")]) == 0
    assert str(tmp_path / "a/b.html") in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.html"]
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    for out in (tmp_path, tmp_path / "a/b.html/c.html", tmp_path / "photo.jpg", project.database_path):
        assert main(["report", "--project", str(project.root), "--out", str(out)]) == 1
        assert capsys.readouterr().err.startswith(f"error: {out}: ")
    assert (tmp_path / "photo.jpg").read_bytes() == b"a photo"
    assert main(["status", "--project", str(project.root)]) == 0
