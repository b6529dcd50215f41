"""A person curates in a real browser: opens the app, chooses a view, tags an image; `--apply` brings it back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from tests.curated import twice_boxed
from tests.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.server, pytest.mark.browser]

LABELSTILL = (sys.executable, "-c", "import sys; from labeling.cli import main; sys.exit(main())")
ARTEFACTS = ROOT / "build" / "screenshots"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)
    return twice_boxed(tmp_path)


@pytest.fixture
def app(project: Project) -> Iterator[dict[str, Any]]:
    """What `labelstill curate` said once its app was open; Ctrl-C ends it in good order."""
    command = [*LABELSTILL, "curate", "--json", "--project", str(project.root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        yield json.loads(said or "{}")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, ""), errors


def shot(page: Page, name: str) -> None:
    """Keep what the person sees, for people who look at test runs."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")
    assert (ARTEFACTS / f"{name}.png").stat().st_size > 20_000


def applied(project: Project) -> dict[str, Any]:
    command = [*LABELSTILL, "curate", "--apply", "--json", "--project", str(project.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_an_image_that_is_tagged_in_the_app_is_a_decision_in_labels_db(
    project: Project, app: dict[str, Any], page: Page
) -> None:
    worst = app["suspects"][0]
    assert worst["kind"] == "duplicate box"
    assert worst["image"].endswith("5.png")
    assert app["url"].startswith("http://127.0.0.1:")

    page.goto(app["url"])
    # FiftyOne greets every new browser with an advertisement that covers the page.
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Dismiss").wait_for(state="detached")
    count = page.locator("[data-cy=entry-counts]")
    assert app["url"].endswith("?view=probably-wrong")
    page.locator("[data-cy=saved-views-selection]").filter(has_text="Probably wrong").wait_for(timeout=20_000)
    doubtful = len({one["image"] for one in app["suspects"][:20]})
    count.filter(has_text=f"{doubtful} sample").wait_for(timeout=20_000)
    page.locator("[data-cy=looker]").first.wait_for()
    shot(page, "curate 1 probably wrong")

    page.locator("[data-cy=saved-views-selection]").click()
    assert set(app["views"]) <= set(page.locator("[data-cy$=-selection-option]").all_inner_texts())
    page.locator("[data-cy=saved-views-probably-wrong-duplicate-box-selection-option]").click()
    count.filter(has_text="1 sample").wait_for()
    page.locator("[data-cy=looker]").hover()
    shot(page, "curate 2 a saved view")

    page.get_by_title("Click to select sample").click()
    page.locator("[data-cy=action-tag-sample-labels]").click()
    page.locator("[data-cy=sample-tag-input]").fill("relabel")
    page.locator("[data-cy=sample-tag-input]").press("Enter")
    shot(page, "curate 3 a tag")
    with page.expect_response(lambda answer: answer.url.endswith("/tag")) as sent:
        page.get_by_text("Apply", exact=True).click()
    assert sent.value.ok
    page.locator("[data-cy=checkbox-tags]").click()  # shows the tags on the images
    page.locator("[data-cy=looker]").wait_for()
    shot(page, "curate 4 tagged")

    expected = Decided(worst["sha256"], "relabel")
    assert applied(project)["added"] == [
        {"sha256": expected.sha256, "decision": "relabel", "note": "", "annotation_id": ""}
    ]
    with project.open_store() as store:
        assert DecisionLedger(store).all() == [expected]
    assert applied(project)["added"] == []
