"""A person in a real browser: log in, see the regions, drag one, delete one, submit; `pull` reports exactly that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labeling.cli import main
from labeling.core.ontology import parse_classes
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from tests import made_stores as made
from tests.paths import ROOT
from tests.studio_servers import StudioServer, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.server, pytest.mark.browser]

SIZE = (640, 480)
THINGS = [
    made.Thing("box", (64.0, 48.0, 192.0, 144.0), 0.9),
    made.Thing("pallet", (384.0, 288.0, 512.0, 384.0), 0.4),
    made.Thing("forklift", (288.0, 96.0, 416.0, 240.0), 0.7, masked=True),
]
BOX, PALLET, FORKLIFT = THINGS
ARTEFACTS = ROOT / "build" / "screenshots"


@pytest.fixture
def project(tmp_path: Path, studio_server: StudioServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose Label Studio runs elsewhere, so that pictures are uploaded."""
    monkeypatch.setenv("LABEL_STUDIO_URL", studio_server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio_server.token)
    ontology = parse_classes("box, pallet, forklift")
    project = Project.create(tmp_path / "browser", ontology)
    photo = made.photo(tmp_path / "photos" / "yard.png", THINGS, SIZE)
    with project.open_store(create=True) as store:
        project.with_ontology(ontology, store)
        store.commit_batch([made.outcome([photo], THINGS, SIZE)], store.start_run("label", {}))
    return project


@pytest.fixture
def page(page: Page, studio_server: StudioServer) -> Page:
    """The tab of a person who has logged in."""
    log_in(page, studio_server)
    return page


def shot(page: Page, name: str) -> None:
    """Keep what the person sees, for people who look at test runs."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")
    assert (ARTEFACTS / f"{name}.png").stat().st_size > 20_000


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    answer: dict[str, Any] = json.loads(captured.out)
    return answer


def test_a_person_drags_one_region_deletes_one_and_submits(
    project: Project, page: Page, studio_server: StudioServer, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ("--project", str(project.root))
    pushed = said(capsys, "push", *here, "--upload", "--blind-share", "0")
    assert pushed["new"] == 1

    page.goto(pushed["first_link"])
    page.wait_for_selector(".konvajs-content canvas")
    for thing in THINGS:
        page.get_by_text(f"{thing.score:.2f}", exact=True).first.wait_for()
    shot(page, "1 predicted regions")

    drag(page, BOX.box, by=(64.0, 48.0))
    page.locator("[class*=outliner-item]").filter(has_text="pallet").first.click()
    page.keyboard.press("Backspace")
    page.get_by_text("0.40", exact=True).first.wait_for(state="detached")
    shot(page, "2 one dragged, one deleted")
    with page.expect_response(lambda answer: answer.request.method == "POST" and "/annotations" in answer.url) as sent:
        page.get_by_role("button", name="Submit").click()
    assert sent.value.status == 201
    shot(page, "3 submitted")

    pulled = said(capsys, "pull", *here)
    assert (pulled["reviewed"], pulled["reviewed_empty"], pulled["skipped"], pulled["attention"]) == (1, 0, 0, [])
    with project.open_store() as store:
        (sha256,) = store.states()
        before = {one.class_name: one for one in store.annotations_of(sha256, "machine")}
        after = {one.class_name: one for one in store.annotations_of(sha256, "human")}
        (answer,) = StudioLedger(store).answers()
    assert store_free(after["forklift"]) == store_free(before["forklift"])
    assert after["forklift"].provenance.parent_id == before["forklift"].id
    assert set(after) == {"box", "forklift"}
    assert after["box"].provenance.parent_id == before["box"].id
    assert answer.from_prediction
    assert answer.annotator == studio_server.email
    assert answer.seconds is not None
    (value,) = (one["value"] for one in answer.result if one["type"] == "rectanglelabels")
    width, height = SIZE
    corner = (value["x"] * width / 100, value["y"] * height / 100)
    dragged = (*corner, corner[0] + value["width"] * width / 100, corner[1] + value["height"] * height / 100)
    assert after["box"].box_xyxy == pytest.approx(dragged, abs=0.01)
    # A hand is not exact, but the drag was about a tenth of the picture each way.
    assert after["box"].box_xyxy == pytest.approx((128.0, 96.0, 256.0, 192.0), abs=12)
    audited = said(capsys, "audit", *here)
    rows = audited["teacher"]["prelabelled"]["classes"]
    assert {name: (row["kept"], row["moved"], row["deleted"], row["added"]) for name, row in rows.items()} == {
        "box": (0, 1, 0, 0),
        "pallet": (0, 0, 1, 0),
        "forklift": (1, 0, 0, 0),
    }


def store_free(annotation: Any) -> tuple[Any, Any]:
    """Return box and mask, which is all that an untouched object keeps of its pre-label."""
    return annotation.box_xyxy, annotation.rle


def drag(page: Page, box: tuple[float, float, float, float], by: tuple[float, float]) -> None:
    """Take a region in its middle and move it; all in pixels of the picture."""
    canvas = page.locator(".konvajs-content").first.bounding_box()
    assert canvas is not None
    scale = canvas["width"] / SIZE[0]
    x = canvas["x"] + scale * (box[0] + box[2]) / 2
    y = canvas["y"] + scale * (box[1] + box[3]) / 2
    page.mouse.click(x, y)
    page.get_by_text("0.90", exact=True).first.wait_for()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + scale * by[0] / 2, y + scale * by[1] / 2, steps=5)
    page.mouse.move(x + scale * by[0], y + scale * by[1], steps=5)
    page.mouse.up()
    page.keyboard.press("Escape")
