"""The report of curation in a real browser: laid out in light and dark, filtered by kind, and nothing is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from distill.curation.coverage import Coverage, Gap
from distill.curation.duplicates import Pair
from labeling.core.store import Store
from tests import made_stores as made
from tests.made_findings import findings, html_of, images_of, pictured, repeated, suspect
from tests.made_stores import Thing
from tests.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CLASSES = ("disc", "crate", "ladder")
SIZE = (480, 360)
ARTEFACTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos with one doubt of each kind, a pair, a gap, and all plots."""
    folder = tmp_path_factory.mktemp("curation")
    things = (
        Thing("disc", (60, 60, 220, 210), 0.9, masked=True),
        Thing("crate", (280, 120, 420, 260), 0.7),
        Thing("ladder", (90, 230, 150, 340), 0.5),
    )
    with Store.open(folder / "labels.db", create=True) as store:
        paths = [made.photo(folder / f"größe #{seed}.jpg", things, SIZE, seed) for seed in range(8)]
        made.write(store, CLASSES, [made.outcome([path], things, SIZE) for path in paths])
        images = images_of(store)
        disc, crate, ladder = sorted(store.annotations_of(images[0]), key=lambda one: -(one.provenance.score or 0))
        moved = replace(disc, id="moved", rle=None, box_xyxy=(95.0, 75.0, 250.0, 215.0))
        doubts = [
            suspect(crate, replace(crate, class_name="ladder"), "wrong class", 0.97, "14 of 15 like it are ladders"),
            suspect(None, ladder, "missing", 0.91, "the teacher is 0.93 sure of a ladder here"),
            suspect(disc, moved, "bad box", 0.74, "shares 0.61 with the teacher's box", "wider than 99% of all discs"),
            suspect(disc, moved, "duplicate box", 0.66, "shares 61% with another box, of disc"),
            suspect(crate, None, "spurious", 0.52, "the teacher sees nothing here"),
        ]
        pair, other = Pair(images[0], images[1], 0.97), Pair(images[2], images[3], 0.84)
        seen = Coverage("demo", 170, 30, 0.63, (Gap(18, 0, 2.1, tuple(images[:4])),))
        found = findings(doubts, repeated([pair], examples=(pair, other)), seen)
        named = [replace(row, name=name) for row, name in zip(found.balance.classes, CLASSES, strict=True)]
        balance = replace(found.balance, classes=tuple(named), cameras=type(found.balance.cameras)({"Canon EOS": 40}))
        html = html_of(store, pictured(replace(found, names=CLASSES, balance=balance)), CLASSES)
    target = folder / "curation.html"
    target.write_text(html, encoding="utf-8")
    return target


def opened(browser: Browser, report: Path, scheme: str, width: int) -> tuple[Page, list[str]]:
    """Open the report; return it with everything that went wrong or was asked for besides the file itself."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 1000})  # type: ignore[arg-type]
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url[:5] not in ("file:", "data:") else None)
    page.goto(report.as_uri())
    return page, said


@pytest.mark.parametrize(("scheme", "name"), [("light", "curation.png"), ("dark", "curation dark.png")])
def test_it_is_laid_out_with_its_pictures_and_asks_nobody(
    browser: Browser, report: Path, scheme: str, name: str
) -> None:
    page, said = opened(browser, report, scheme, 1280)
    assert said == []
    plots = page.locator("img")
    assert plots.count() == 6
    for plot in plots.all():
        assert plot.evaluate("image => image.complete && image.naturalWidth > 300")
        twin = plot.evaluate("image => image.currentSrc === image.src")
        assert twin == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / name, full_page=True)
    seen = np.asarray(Image.open(ARTEFACTS / name).convert("L"))
    assert (np.median(seen) > 200) == (scheme == "light")


def test_a_kind_that_is_unchecked_is_hidden(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, "light", 1280)
    cards = page.locator("article.suspect:visible")
    assert cards.count() == 5
    page.get_by_role("checkbox", name="wrong class").uncheck()
    page.get_by_role("checkbox", name="missing").uncheck()
    assert [card.locator(".chip").inner_text() for card in cards.all()] == ["bad box", "duplicate box", "spurious"]


def test_it_fits_a_telephone(browser: Browser, report: Path) -> None:
    page, said = opened(browser, report, "light", 390)
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
