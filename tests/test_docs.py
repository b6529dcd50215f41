"""What the documents say about commands, targets, files and links is true."""

from __future__ import annotations

import re

import pytest

from labeling.cli import VERBS
from tests.paths import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md", "labeling/demo/teacher/README.md")
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def text_of_all() -> str:
    return "\n".join((ROOT / name).read_text() for name in DOCUMENTS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"`labelstill {verb}`" in README


def test_every_verb_that_is_named_exists() -> None:
    named = re.findall(r"(?:`|bin/)labelstill ([a-z]+)", text_of_all())
    assert len(named) >= len(VERBS)
    assert set(named) <= set(VERBS)


def test_every_make_target_that_is_named_exists() -> None:
    named = re.findall(r"(?:`|\$ )make ((?:[a-z-]+ ?)+)", text_of_all())
    words = {word for group in named for word in group.split()}
    assert {"demo", "test", "setup"} <= words <= TARGETS
    assert {"setup", "demo", "test", "test-fast", "test-slow", "check", "bench"} <= TARGETS


def test_every_script_and_link_that_is_named_exists() -> None:
    scripts = set(re.findall(r"scripts/[\w/]+\.py", text_of_all()))
    assert len(scripts) >= 3
    assert [path for path in scripts if not (ROOT / path).is_file()] == []
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_same_targets_as_people_and_forbids_skips() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make check test test-slow" in ci
    assert "LABELSTILL_REQUIRE_ALL=1" in ci


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"@@|TODO|TBD|FIXME", text_of_all()) == []
