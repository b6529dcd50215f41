"""A person in a real browser draws a box with the smart tool, gets its mask as a suggestion, and accepts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labeling.cli import main
from labeling.core import masks
from labeling.core.store_studio import StudioLedger
from tests.assisting import assisting, labelled
from tests.paths import ROOT
from tests.studio_servers import StudioServer, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.torch]

WIDTH = 640
ARTEFACTS = ROOT / "build" / "screenshots"


def test_a_box_of_the_smart_tool_becomes_a_mask_that_is_accepted_and_submitted(
    tmp_path: Path,
    studio_server: StudioServer,
    page: Page,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", studio_server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio_server.token)
    project = labelled(tmp_path / "assist", photos=1)
    here = ("--project", str(project.root))
    with project.open_store() as store:
        (sha256,) = store.states()
        before = store.annotations_of(sha256, "machine")
    known = max((one for one in before if one.rle), key=lambda one: masks.area(one.rle))  # type: ignore[arg-type]
    pushed = said(capsys, "push", *here, "--upload", "--blind-share", "0")
    with assisting(project, studio_server.url, studio_server.token):
        log_in(page, studio_server)
        page.goto(pushed["first_link"])
        page.wait_for_selector(".konvajs-content canvas")
        page.get_by_text(f"{known.provenance.score:.2f}", exact=True).first.wait_for()
        page.get_by_text("Auto-Annotation", exact=True).click()
        page.locator(".lsf-tool_smart").first.click()
        page.locator(".lsf-label").filter(has_text="pallet").first.click()
        with page.expect_response(lambda answer: "interactive-annotating" in answer.url) as asked:
            draw(page, known.box_xyxy)
        (suggested,) = asked.value.json()["data"]["result"]
        accept = page.locator("[class*=auto-accept__action_type_accept]")
        accept.wait_for()
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTEFACTS / "4 suggested mask.png")
        accept.click()
        accept.wait_for(state="detached")
        with page.expect_response(lambda one: one.request.method == "POST" and "/annotations" in one.url) as sent:
            page.get_by_role("button", name="Submit").click()
        assert sent.value.status == 201
    assert suggested["type"] in ("polygonlabels", "brushlabels")

    pulled = said(capsys, "pull", *here)
    assert (pulled["reviewed"], pulled["attention"]) == (1, [])
    with project.open_store() as store:
        after = store.annotations_of(sha256, "human")
        (answer,) = StudioLedger(store).answers()
    # The box itself is gone: one object is one region.
    assert len(answer.result) == len(after) == len(before) + 1
    (added,) = (one for one in after if one.provenance.parent_id is None)
    assert added.class_name == "pallet"
    assert added.rle is not None
    assert known.rle is not None
    assert masks.iou(added.rle, known.rle) > 0.8


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    answer: dict[str, Any] = json.loads(captured.out)
    return answer


def draw(page: Page, box: tuple[float, float, float, float]) -> None:
    """Pull a box over the picture, in pixels of the picture."""
    canvas = page.locator(".konvajs-content").first.bounding_box()
    assert canvas is not None
    scale = canvas["width"] / WIDTH
    x0, y0, x1, y1 = box
    for place, (x, y) in enumerate([(x0, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x1, y1)]):
        page.mouse.move(canvas["x"] + scale * x, canvas["y"] + scale * y, steps=5)
        if place == 0:
            page.mouse.down()
    page.mouse.up()
