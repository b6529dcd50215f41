"""The report of curation: figures as counted by hand, both versions drawn, hostile names text, missing parts whole."""

from __future__ import annotations

import hashlib
import re
import weakref
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.balance import ClassBalance
from distill.curation.coverage import Coverage, Gap
from distill.curation.duplicates import Pair
from distill.curation.groups import Group
from distill.curation.page import SUSPECTS, render
from distill.curation.readiness import NEXT
from labeling.core.store import Store
from labeling.images import LoadedImage, load
from labeling.stored_photos import StoredPhotos
from tests import made_stores as made
from tests.made_findings import CLASSES, HOSTILE, balance, findings, html_of, images_of, pictured, repeated, suspect
from tests.made_stores import Thing
from tests.test_report import Page

THINGS = (Thing("disc", (20, 20, 70, 60), 0.9, masked=True), Thing(HOSTILE, (100, 30, 140, 80), 0.6))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Six photos, one of them under a hostile name."""
    names = [f"{number}.png" for number in range(5)] + ["<script>alert(2)<script>.png"]
    with Store.open(tmp_path / "labels.db", create=True) as store:
        photos = [made.photo(tmp_path / "photos" / name, THINGS, seed=seed) for seed, name in enumerate(names)]
        made.write(store, CLASSES, [made.outcome([path], THINGS) for path in photos])
        yield store


def section(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}">') :].partition("</section>")[0]


def text_of(html: str, name: str = "") -> str:
    return Page(section(html, name) if name else html).text


def test_figures_at_the_top_are_those_of_the_findings(store: Store) -> None:
    first, second, third, *_ = images_of(store)
    label, other = store.annotations_of(first)
    pairs = [Pair(first, second, 0.97), Pair(first, third, 0.95), Pair(second, third, 0.9)]
    doubts = [suspect(label, None, "spurious", 0.8), suspect(other, None, "bad box", 0.3)]
    seen = Coverage("yolo", 170, 30, 0.4, (Gap(18, 0, None, ()),))
    series = Group("sequence", (first, second, third))
    page = Page(html_of(store, findings(doubts, repeated(pairs, groups=(series,)), seen)))
    text = page.text
    assert "1 label to look at first." in text
    for tile in (
        "200 images with labels",
        "350 boxes",
        "170 images reviewed by people",
        "1 labels to look at first",
        "2 images that repeat another",  # the first of the three is the one to keep
        "1 of 3 classes with enough to start",
        "40% of the waiting images are of known kinds",
    ):
        assert tile in text
    assert "Look at these labels first: 1 spurious." in text
    assert "3 images come from one series of shots" in text
    assert f"Too few images of: {HOSTILE}, ladder." in text
    assert "Nearly all photos are from one camera." in text
    assert "People have hardly seen 1 kind of images, 18 in all." in text


def test_label_is_solid_and_what_should_stand_there_is_dashed(store: Store) -> None:
    label, other = store.annotations_of(images_of(store)[0])
    # Whoever says that only the class is wrong may repeat the label under its own id.
    renamed = replace(label, class_name="ladder", rle=None)
    doubts = [
        suspect(label, renamed, "wrong class", 0.9, "14 of 15 boxes that look like this are ladders"),
        suspect(None, other, "missing", 0.8, "the teacher is 0.93 sure"),
        suspect(other, None, "spurious", 0.7, "one", "two", "three", "four", "five"),
    ]
    html = section(html_of(store, findings(doubts)), "labels")
    cards = html.split("<article")[1:]
    drawn = [["stroke-dasharray" in box for box in re.findall(r'<rect class="box"[^>]*>', card)] for card in cards]
    assert drawn == [[False, True], [True], [False]]  # the dashed one on top
    assert [re.findall(r"(\d+)%</span>", card) for card in cards] == [["90"], ["80"], ["70"]]
    assert "disc → ladder" in Page(cards[0]).text
    assert "14 of 15 boxes that look like this are ladders" in Page(cards[0]).text
    assert f"{HOSTILE} without a label" in Page(cards[1]).text
    at_once, _, on_request = cards[2].partition("<details>")
    assert re.findall(r"<li>(.*?)</li>", at_once) == ["one", "two", "three"]
    assert "2 more reasons" in on_request
    assert re.findall(r"<li>(.*?)</li>", on_request) == ["four", "five"]


def test_the_most_doubtful_are_shown_and_the_rest_is_counted(store: Store) -> None:
    label, other = store.annotations_of(images_of(store)[0])
    doubts = [suspect(label, None, "spurious", 0.99 - number / 200) for number in range(SUSPECTS + 7)]
    less = [suspect(other, None, "bad box", 0.4)] * 11
    calm = [suspect(other, None, "spurious", 0.0)] * 500
    html = html_of(store, findings(doubts + less + calm))
    labels = section(html, "labels")
    assert f"{SUSPECTS + 7} labels to look at first." in Page(html).text
    assert labels.count("<article") == SUSPECTS
    assert f"7 of the {SUSPECTS + 7} are not drawn here. And 11 more with less suspicion." in Page(labels).text
    assert f"spurious {SUSPECTS + 7}" in Page(labels).text
    assert "bad box 0" in Page(labels).text


def test_labels_of_little_suspicion_are_counted_and_not_shown(store: Store) -> None:
    label, _ = store.annotations_of(images_of(store)[0])
    html = html_of(store, findings([suspect(label, None, "spurious", 0.3)]))
    assert "Nothing speaks loudly against the labels." in text_of(html)
    assert "No label stands out. And 1 more with less suspicion." in text_of(html, "labels")


def test_pairs_stand_side_by_side_and_on_their_side_of_the_threshold(store: Store) -> None:
    one, two, three, four, *_ = images_of(store)
    above, below = Pair(one, two, 0.95), Pair(three, four, 0.81)
    near = Group("near", (one, two))
    found = repeated([above], examples=(above, below), groups=(near,), copies={one: ("a.png", "b/a.png")}, without=3)
    html = section(html_of(store, findings(duplicates=found)), "duplicates")
    text = Page(html).text
    assert "1 pair shows nearly the same." in text
    upper, lower = html.index("The nearest above"), html.index("The nearest below")
    assert upper < html.rindex("0.950") < lower < html.index("0.810")
    assert len(re.findall(r'<div class="pair">', html)) == 3
    assert len(re.findall(r"<image ", html)) == 6
    assert "near duplicates 2 0.png 1.png" in text
    assert "1 image lies in several files with the same bytes" in text
    assert "a.png b/a.png" in text
    assert "3 images have no features" in text
    assert "The threshold is 0.880: it was given." in text


def test_balance_says_what_there_is_and_what_is_missing(store: Store) -> None:
    html = section(html_of(store, findings()), "balance")
    text = Page(html).text
    assert "disc 160 enough to start 300 160" in text
    assert f"{HOSTILE} 40 too few 110 50 10" in text
    assert "ladder 0 none 150 0 0" in text
    assert "2.5 ×" in text
    assert "1 ×" in text
    assert "150 images to start, 500 reviewed by people is ready." in text
    assert "20%" in text  # 60 of 300 discs touch the border
    assert "30 small, 150 medium, 120 large" in text
    assert f"5% of the images with disc hold {HOSTILE} too" in text  # 8 of 160
    assert f"20% of the images with {HOSTILE} hold disc too" in text  # 8 of 40
    assert "ladder hold" not in text
    assert "dark brightness under 0.20 12" in text
    assert f"{HOSTILE} 30 Canon 10" in text
    assert not Page(html).all("img")  # no photo was looked at


def test_every_plot_has_a_dark_twin_and_words(store: Store) -> None:
    first, second, *_ = images_of(store)
    page = Page(html_of(store, pictured(findings(duplicates=repeated([Pair(first, second, 0.9)])))))
    plots, twins = page.all("img"), page.all("source")
    assert len(plots) == len(twins) == 6
    for plot, twin in zip(plots, twins, strict=True):
        assert len(plot["alt"] or "") > 10
        assert twin["media"] == "(prefers-color-scheme:dark)"
        for uri in (plot["src"] or "", twin["srcset"] or ""):
            assert Image.open(BytesIO(b64decode(uri.removeprefix("data:image/png;base64,")))).format == "PNG"
    assert [words for words in ("Where objects lie", "How bright images are") if words not in page.text] == []


def test_gaps_are_shown_with_examples(store: Store) -> None:
    images = images_of(store)
    gaps = (Gap(18, 2, 2.34, tuple(images)), Gap(1, 0, None, ()))
    html = section(html_of(store, findings(coverage=Coverage("yolo", 170, 30, 0.4, gaps, 5))), "coverage")
    text = Page(html).text
    assert "40% of 30 images that wait look like one of the 170 that people reviewed." in text
    assert "5 without features are left out." in text
    assert "18 images wait, 2 reviewed; 2.3 times the usual distance from what was reviewed" in text
    assert "1 image waits" in text
    assert len(re.findall(r"<image ", html)) == 4


def test_where_nobody_has_reviewed_there_is_no_share_and_no_bar(store: Store) -> None:
    html = html_of(store, findings(coverage=Coverage("yolo", 0, 30, 0.0, (Gap(30, 0, None, ()),))))
    assert Page(html).text.count("Nobody has reviewed anything yet.") == 2
    assert "of known kinds" not in Page(html).text
    assert "hardly seen" not in Page(html).text
    assert "meter" not in section(html, "coverage")


def test_page_names_one_number_for_next(store: Store) -> None:
    found = findings()
    said = f"labelstill next {NEXT} names those that teach most"
    html = html_of(store, replace(found, balance=replace(found.balance, plan=(said,))))
    assert set(re.findall(r"labelstill next (\d+)", html)) == {"20"}


def test_photos_without_a_camera_are_said_to_have_none(store: Store) -> None:
    found = pictured(findings())
    assert "No photo names a camera." not in text_of(html_of(store, found), "balance")
    nameless = replace(found, balance=replace(found.balance, cameras=Counter()))
    assert "No photo names a camera." in text_of(html_of(store, nameless), "balance")


def test_hostile_names_are_text_and_nothing_comes_from_outside(store: Store) -> None:
    *_, named = images_of(store)
    label, _ = store.annotations_of(named)
    doubt = suspect(label, replace(label, class_name=HOSTILE), "wrong class", 0.9, HOSTILE)
    seen = Coverage("yolo", 1, 1, 0.0, (Gap(1, 0, None, (named,)),))
    found = replace(findings([doubt], repeated([Pair(named, named, 0.9)]), seen), notes=(HOSTILE,))
    html = html_of(store, found, project=f"{HOSTILE}; rm -rf \udcff")
    page = Page(html)
    assert page.text.count(HOSTILE) > 8
    assert "alert(2)" in page.text
    assert HOSTILE not in html
    assert "<script" not in html
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "link", "object", "form", "video"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("href", "src", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,"))
    assert not re.search(r"url\(|@import|https?://", html)
    for link in page.all("a"):
        assert f'id="{(link["href"] or "")[1:]}"' in html


def test_policy_allows_the_style_sheet_by_its_hash_and_no_script(store: Store) -> None:
    html = html_of(store, findings())
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in Page(html).all("meta") if "http-equiv" in meta]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_image_whose_file_is_gone_keeps_its_place_and_its_reasons(store: Store, tmp_path: Path) -> None:
    one, two, *_ = images_of(store)
    label, _ = store.annotations_of(one)
    (tmp_path / "photos/0.png").unlink()
    seen = Coverage("yolo", 1, 1, 0.0, (Gap(1, 0, None, (one,)),))
    doubt = suspect(label, None, "spurious", 0.9, "the teacher saw nothing")
    html = html_of(store, findings([doubt], repeated([Pair(one, two, 0.9)]), seen))
    assert section(html, "labels").count("no file holds this image any more") == 1
    assert "the teacher saw nothing" in text_of(html, "labels")
    assert section(html, "duplicates").count("no file holds this image any more") == 1
    assert len(re.findall(r"<image ", section(html, "duplicates"))) == 1
    assert "None of its files can be read any more." in text_of(html, "coverage")
    assert "1 image could not be drawn here" in text_of(html, "left-out")
    assert "photos/0.png" in text_of(html, "left-out")


def test_nothing_found_reads_as_nothing_found(store: Store) -> None:
    html = html_of(store, findings())
    assert "Nothing speaks loudly against the labels." in text_of(html)
    assert "Nothing speaks against any label." in text_of(html, "labels")
    assert "No two images look nearly the same. The threshold is 0.880: it was given." in text_of(html, "duplicates")
    assert "Not measured: no image has features." in text_of(html, "coverage")
    assert "Every part ran on every image." in text_of(html, "left-out")
    assert "Collect 150 images of ladder: there is none yet." in text_of(html, "plan")


def test_project_without_classes_photos_or_people_is_a_page(tmp_path: Path) -> None:
    nothing = replace(
        balance(), images=0, boxes=0, reviewed_images=0, classes=(), together=np.zeros((0, 0), int), cameras=Counter(),
        slices=(), remarks=(), plan=(),
    )  # fmt: skip
    found = replace(findings(coverage=Coverage("look", 0, 0, 1.0, ())), names=(), images=0, balance=nothing)
    with Store.open(tmp_path / "labels.db", create=True) as store:
        html = html_of(store, found, ["disc"])
    assert "Nothing is labelled yet." in text_of(html)
    assert "The project names no classes yet." in text_of(html, "balance")
    assert "Every image was reviewed: none waits." in text_of(html, "coverage")
    assert not Page(html).all("img")


def test_eighty_classes_fill_the_table_and_the_commonest_the_matrix(store: Store) -> None:
    names = [f"class {number}" for number in range(80)]
    rows = tuple(
        ClassBalance(name, 100 + number, 100, 0, 0, 100, 0, 0, 0.1, "too few", 50, 1.0)
        for number, name in enumerate(names)
    )
    found = findings()
    full = replace(found.balance, classes=rows, together=np.full((80, 80), 10))
    html = section(html_of(store, replace(found, names=tuple(names), balance=full), names), "balance")
    assert html.count('<tr><td class="name">') == 80
    matrix = html[html.index('<svg class="matrix"') :]
    assert matrix.count('class="no"') == 16
    assert matrix.count('class="yes"') == 16 * 15
    assert "class 79" in matrix
    assert "class 63" not in matrix
    assert "The 16 commonest classes; 64 more are left out." in Page(html).text


def test_photos_are_in_memory_one_after_the_other(store: Store) -> None:
    images = images_of(store)
    doubts = [suspect(store.annotations_of(image)[0], None, "spurious", 0.9) for image in images]
    photos, seen, most = StoredPhotos(store, partial(load, max_pixels=10**8)), [], 0

    def photo(sha256: str) -> LoadedImage | None:
        nonlocal most
        loaded = photos.photo(sha256, sha256)
        assert loaded is not None
        seen.append(weakref.ref(loaded.pixels))
        most = max(most, sum(ref() is not None for ref in seen))
        return loaded

    pairs = [Pair(images[0], images[1], 0.9)] * 40
    render(findings(doubts, repeated(pairs)), store, "yard", made.ontology(CLASSES), photo)
    assert most <= 2
    assert len(seen) == 6 + 2 * 12  # however many pairs there are
