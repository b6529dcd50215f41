"""The report of a student: figures as measured, verdict first, hostile names text, what was not measured said aloud."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from markupsafe import escape
from PIL import Image

from distill.dataset import Dataset
from distill.reporting.evidence import BASELINE, PEOPLE, TEACHER, WHO, rivals
from distill.reporting.report import StudentReport, judge, render
from distill.run_folder import RunFolder
from distill.splitting.audit import Crossing
from tests.made_students import HOSTILE, LONG, NAMES, report
from tests.test_report import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudentReport:
    return report(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def html(whole: StudentReport) -> str:
    return render(whole)


def section(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}">') :].partition("</section>")[0]


def text_of(html: str, name: str = "") -> str:
    return Page(section(html, name) if name else html).text


def uris(html: str) -> list[str]:
    return re.findall(r'"(data:image/[^"]*)"', html)


def test_the_verdict_stands_first_and_is_that_of_the_words(whole: StudentReport, html: str) -> None:
    judged = judge(whole)
    head = html[html.index("<header>") : html.index("</header>")]
    text = Page(head).text
    assert text.startswith(judged.state.capitalize())
    assert judged.headline in text
    assert judged.notes
    for note in judged.notes:
        assert note.text in text
    assert html.index("</header>") < html.index("<section")


def test_figures_are_those_that_were_measured(whole: StudentReport, html: str) -> None:
    assert whole.test is not None
    assert whole.test_at is not None
    assert whole.point is not None
    rows = re.findall(r"<tr>(.*?)</tr>", section(html, "classes").partition("</table>")[0])
    assert len(rows) == len(NAMES) + 2
    for row, one, said in zip(rows[1:], whole.test.classes, whole.test_at.classes, strict=False):
        cells = [Page(cell).text for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        measured = (said.precision, said.recall, one.ap50, one.ap50_95, one.recall_at_precision)
        assert cells[1:] == [*(f"{value:.2f}" for value in measured), f"{one.objects:,}", f"{one.images:,}"]
    text = text_of(html)
    assert f"{whole.test.ap50:.2f} AP50 on test" in text
    assert f"{whole.point.score:.2f} threshold, chosen on val" in text
    assert "21 ms per photo a CPU" in text
    assert "80 test images" in text


def test_everyone_stands_in_one_table_and_one_figure(whole: StudentReport, html: str) -> None:
    assert whole.comparison is not None
    part = section(html, "compared")
    for row in whole.comparison.rows:
        assert row.ap50.value is not None
        assert row.ap50.interval is not None
        low, high = row.ap50.interval
        assert f"{row.ap50.value:.2f} ({low:.2f} to {high:.2f})" in Page(part).text
        assert f'x="{round(100 * low, 2)}" y="4" width="{round(100 * (high - low), 2)}"' in part
    for pair in whole.comparison.pairs:
        assert f"{pair.first} minus {pair.second}" in Page(part).text
        assert f"{pair.difference:+.3f}" in part
    assert "on the images of a second person" in part


def test_the_baseline_is_known_by_its_name(whole: StudentReport) -> None:
    assert WHO.keys() == {TEACHER, PEOPLE, BASELINE}
    found = {rival.name: rival for rival in rivals(whole.comparison)}
    assert [rival.name for rival in found.values() if rival.baseline] == [WHO[BASELINE]]
    assert found[WHO[BASELINE]].outcome == "better"
    assert found.keys() == {WHO[TEACHER], WHO[PEOPLE], WHO[BASELINE]}
    assert [rival.images for rival in found.values()] == [80, 80, 40]


def test_confusions_are_counted_cell_by_cell(whole: StudentReport, html: str) -> None:
    assert whole.test_at is not None
    drawn = html[html.index('<svg class="matrix"') :].partition("</svg>")[0]
    counts = [int(count) for count in re.findall(r'class="in[^"]*"[^>]*>(\d+)<', drawn)]
    assert sum(counts) == whole.test_at.confusion.sum()
    titles = re.findall(r"<title>([^<]* → [^<]*)</title>", drawn)
    rows, columns = (*NAMES, "nothing there"), (*NAMES, "not found")
    for there, down in zip(rows, whole.test_at.confusion.tolist(), strict=True):
        for said, count in zip(columns, down, strict=True):
            start = f"{escape(there)} → {escape(said)}: {count} of {sum(down)} ".replace("\x1b", "\ufffd")
            assert (there, said) == (rows[-1], columns[-1]) or any(title.startswith(start) for title in titles)
    assert len(re.findall('<rect class="no"', drawn)) == (len(NAMES) + 1) ** 2 - 1


def test_many_classes_are_merged_and_every_object_stays_counted(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(30))
    many = report(tmp_path, names, images=60)
    assert many.test_at is not None
    html = render(many)
    drawn = html[html.index('<svg class="matrix"') :].partition("</svg>")[0]
    counts = [int(count) for count in re.findall(r'class="in[^"]*"[^>]*>(\d+)<', drawn)]
    assert sum(counts) == many.test_at.confusion.sum()
    assert len(re.findall('<rect class="no"', drawn)) == 21**2 - 1
    assert "The 11 classes with the fewest objects are drawn as one" in html
    assert "The 8 weakest classes in colour, 22 more in grey." in html


def test_pictures_and_the_page_are_small(whole: StudentReport, html: str) -> None:
    sizes = {"png": 60_000, "jpeg": 40_000}
    seen_kinds = []
    for uri in uris(html):
        kind, _, data = uri.removeprefix("data:image/").partition(";base64,")
        seen_kinds.append(kind)
        assert len(base64.b64decode(data)) <= sizes[kind]
        assert Image.open(BytesIO(base64.b64decode(data))).width > 300
    assert seen_kinds.count("png") == 2 * 4
    assert seen_kinds.count("jpeg") == sum(one.pixels is not None for one in whole.worst) + 1
    assert len(html) < 3_000_000


def test_the_same_facts_make_the_same_page(whole: StudentReport, html: str) -> None:
    assert render(whole) == html


def test_every_picture_says_what_it_shows(html: str) -> None:
    page = Page(html)
    assert page.all("img")
    assert all(image["alt"] for image in page.all("img"))
    drawings = [one for one in page.all("svg") if one.get("aria-hidden") is None]
    assert drawings
    assert all(one.get("role") == "img" and one["aria-label"] for one in drawings)


def test_names_of_a_project_are_text_and_command_nothing(tmp_path: Path) -> None:
    odd = report(tmp_path, ("crate", HOSTILE, LONG), project=HOSTILE)
    html = render(odd)
    assert "\x1b" not in html
    assert {image.get("onerror") for image in Page(html).all("img")} == {None}
    assert Page(html).all("script") == []
    assert "<img src=x onerror=alert(1)>" in text_of(html)
    assert LONG not in html


def test_nothing_measured_is_said_and_no_figure_is_invented(tmp_path: Path) -> None:
    bare = StudentReport(
        "shop", RunFolder(tmp_path / "1", {"dataset": "x"}), Dataset(tmp_path, "x", NAMES, "detect", {}, {}, {}),
        command="--project shop",
    )  # fmt: skip
    html = render(bare)
    text = text_of(html)
    assert text.count("Not measured") >= 6
    assert "Not audited" in text
    assert "labelstill evaluate 1 --project shop" in text
    assert "labelstill train --learning-curve --project shop" in text
    assert uris(html) == []
    assert "0.00" not in text
    assert judge(bare).state == "cannot say"


def test_val_stands_in_where_the_test_part_was_not_opened(whole: StudentReport) -> None:
    html = render(replace(whole, test=None, test_at=None, comparison=None, opening=None))
    text = text_of(html)
    assert "Cannot say: the test part was not opened for this student." in text
    assert "AP50 on val" in text
    assert "AP50 on test" not in text
    assert "on which its threshold was chosen" in text
    assert "Not measured. labelstill evaluate first-try --project shop" in text_of(html, "compared")


def test_a_mirrored_pair_in_two_parts_is_told_as_one(whole: StudentReport) -> None:
    assert whole.audit is not None
    turned = replace(whole.audit, turned_across=(Crossing("a", "b", ("train", "test"), 0.97),))
    assert "1 mirrored or turned pair lie in two parts" in text_of(render(replace(whole, audit=turned)))


def test_leaks_reuse_and_licences_are_said(whole: StudentReport) -> None:
    assert whole.audit is not None
    assert whole.opening is not None
    leaky = replace(whole.audit, groups_across=(("a", "b"),), not_compared=4)
    again = replace(whole.opening, reuse="a new camera", students_before=2)
    html = render(replace(whole, audit=leaky, opening=again, unreviewed=5))
    text = text_of(html)
    assert "1 leak between the parts" in text
    assert "0 pairs of copies, 1 group, 0 near pairs, 0 mirrored or turned pairs lie in two parts" in text_of(
        html, "data"
    )
    assert "4 images without a thumbnail could not be compared" in text_of(html, "data")
    assert "a new camera" in text
    assert "2 others were measured on the same test part" in text
    assert "Cannot say: nobody has reviewed the labels of 5 test images." in text
    assert "student AGPL-3.0 teacher Apache-2.0 Under AGPL-3.0" in text_of(html, "provenance")
    free = replace(whole, licences={"student": "Apache-2.0"})
    assert "Under AGPL" not in render(free)


def test_the_dataset_and_what_was_left_out_are_counted(html: str) -> None:
    text = text_of(html, "data")
    assert "train 300 900 12 val 60 170 3 test 80 189 8" in text
    assert "not reviewed 7 skipped by people 2" in text
    assert "2 images of thin classes are shown more than once per epoch, 3 times more in all." in text
    assert "The split was cut by time." in text
    assert "a.jpg train b.jpg no file holds this image any more" in text


def test_provenance_names_data_ontology_versions_and_seed(html: str) -> None:
    text = text_of(html, "provenance")
    for said in (
        "Data hash " + "0f" * 8,
        "Ontology hash " + "ab" * 8,
        "torch 2.9.1",
        "Seed 0",
        "epochs 20",
        "Split default",
    ):
        assert said in text


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_disk_fits_and_fetches_nothing(tmp_path: Path, html: str, browser: Browser, width: int) -> None:
    target = tmp_path / "student.html"
    target.write_text(html, encoding="utf-8")
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        said = list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda one: said.append(one.url) if one.url[:5] not in ("file:", "data:") else None)
        page.goto(target.as_uri())
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for plot in page.locator("img").all():
            assert plot.evaluate("image => image.complete && image.naturalWidth > 300")
