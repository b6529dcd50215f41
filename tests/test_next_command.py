"""The verb next: the images to label next, in the order of the queue, with words; nothing is written into labels.db."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.cli import main
from labeling.core.store import Feature, ImageOutcome, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from labeling.queue import order
from tests import made_stores as made
from tests.outcomes import digest, machine, outcome


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", made.ontology(["box"]))


def scored(name: str, *scores: float, vector: Sequence[float] | None = None, **changes: Any) -> ImageOutcome:
    labels = [machine(name, number) for number in range(len(scores))]
    labels = [
        replace(label, provenance=replace(label.provenance, score=score))
        for label, score in zip(labels, scores, strict=True)
    ]
    features = () if vector is None else (Feature(None, "m", np.array(vector, dtype=np.float16)),)
    return replace(outcome(name, *labels, **changes), features=features)


def write(project: Project, *outcomes: ImageOutcome) -> None:
    with project.open_store(create=True) as store:
        store.write_classes(made.ontology(["box"]))
        run = store.start_run("label", {"classes": ["box"], "scores": [0.25]})
        store.commit_batch(outcomes, run)
        store.finish_run(run, {})


def said(project: Project, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    assert main(["next", *more, "--project", str(project.root)]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def told(project: Project, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["next", *more, "--project", str(project.root), "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [Path(image["path"]).stem for image in answer["images"]]


def many(project: Project, count: int = 60) -> list[str]:
    random = np.random.default_rng(0)
    write(
        project,
        *(scored(f"{n}", float(random.random()), vector=random.standard_normal(8).tolist()) for n in range(count)),
    )
    return [digest(f"{n}") for n in range(count)]


def test_the_text_says_rank_doubt_distance_name_and_why_and_ends_with_what_to_run_next(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        project,
        scored("sure", 0.97, 0.95, vector=[1, 0]),
        scored("doubtful", 0.9, 0.31, vector=[0, 1]),
        scored("empty"),
        scored("its twin", 0.35, vector=[0, 1]),
    )
    lines = said(project, capsys, "3")
    assert lines[0] == "4 images wait for people"
    assert lines[1] == "rank doubt unlike"
    assert lines[2] == "1 0.9 1.00 /photos/doubtful.jpg: 2 boxes, the least sure box at 0.31"
    assert lines[3] == "2 0.0 1.00 /photos/sure.jpg: 2 boxes, the least sure box at 0.95"
    assert lines[4] == "3 0.5 - /photos/empty.jpg: the teacher found nothing"
    assert lines[-1] == f"next: labelstill push --limit 3 --project {project.root} (a tenth of them by lot)"
    assert "its twin.jpg: 1 box, box at 0.35; much like one before" in said(project, capsys)[5]


def test_the_order_is_that_of_the_queue_which_push_follows(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    images = many(project)
    with project.open_store() as store:
        queue = [entry.sha256 for entry in order(store, images, audit_share=0)]
    assert [image["sha256"] for image in told(project, capsys, "60")["images"]] == queue
    assert [image["sha256"] for image in told(project, capsys)["images"]] == queue[:20]
    assert [image["rank"] for image in told(project, capsys, "5")["images"]] == [1, 2, 3, 4, 5]


def test_only_images_that_wait_come_up(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    states = ("reviewed", "empty", "skipped", "pushed", "dropped", "twin", "label dropped", "relabel", "waits")
    write(project, *(scored(name, 0.5) for name in states), scored("new", key=None))
    write(project, replace(outcome("broken", key=None), width=None, height=None, status="quarantined", reason="cut"))
    with project.open_store() as store:
        store.set_reviewed(digest("reviewed"), [made.human(digest("reviewed"), "box", (0, 0, 2, 2))], "reviewed")
        store.set_reviewed(digest("empty"), [], "reviewed-empty")
        store.set_reviewed(digest("skipped"), [], "skipped")
        with store.transaction() as db:
            db.execute("UPDATE images SET state = 'pushed' WHERE sha256 = ?", (digest("pushed"),))
        DecisionLedger(store).change(
            [
                Decided(digest("dropped"), "drop"),
                Decided(digest("twin"), "duplicate-of", digest("waits")),
                Decided(digest("label dropped"), "drop", annotation_id="a label"),
                Decided(digest("relabel"), "relabel"),
            ]
        )
    answer = told(project, capsys)
    assert set(names(answer)) == {"label dropped", "relabel", "waits", "new"}
    assert (answer["waiting"], answer["pushed"], answer["set_aside"]) == (4, 1, 2)
    lines = said(project, capsys)
    assert lines[0] == "4 images wait for people, 1 with people, 2 set aside by a decision"
    assert any("new.jpg: no teacher has looked at it" in line for line in lines)
    assert lines[-1].startswith("1 of them has no labels to correct yet: labelstill label PHOTOS")


def test_without_features_the_order_rests_on_doubt_and_says_so(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, scored("b", 0.9), scored("a", 0.3))
    assert names(told(project, capsys)) == ["a", "b"]
    assert any(line.startswith("note: no image has features") for line in said(project, capsys))
    assert told(project, capsys)["encoder"] is None


def test_nothing_that_waits_is_no_error_and_names_the_next_step(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, scored("only", 0.5))
    with project.open_store() as store, store.transaction() as db:
        db.execute("UPDATE images SET state = 'pushed'")
    assert said(project, capsys) == [
        "0 images wait for people, 1 with people",
        f"next: labelstill pull --project {project.root}",
    ]
    assert told(project, capsys)["images"] == []


def test_the_list_of_paths_is_written_one_a_line_in_order(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(project)
    out = tmp_path / "list.txt"
    answer = told(project, capsys, "7", "--out", str(out))
    assert out.read_text().splitlines() == [image["path"] for image in answer["images"]]
    assert f"wrote {out}" in said(project, capsys, "--out", str(out))


@pytest.mark.parametrize("name", [b"/photos/a\nb.jpg", b"/photos/\xff.jpg"])
def test_a_name_that_no_line_can_hold_is_refused_for_the_list_and_shown_safely(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes
) -> None:
    write(project, scored("odd", 0.5, paths=(os.fsdecode(name),)))
    out = tmp_path / "list.txt"
    assert main(["next", "--project", str(project.root), "--out", str(out)]) == 1
    assert "--json" in capsys.readouterr().err
    assert not out.exists()
    assert len([line for line in said(project, capsys) if "/photos/" in line]) == 1


def test_a_folder_for_the_list_is_refused(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(project, 2)
    assert main(["next", "--project", str(project.root), "--out", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_a_count_below_one_is_refused(project: Project, capsys: pytest.CaptureFixture[str], count: str) -> None:
    assert main(["next", "--project", str(project.root), "--", count]) == 1
    assert re.match("error: .*'?N'?", capsys.readouterr().err)


def test_a_count_beyond_all_images_gives_all(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    many(project, 3)
    assert len(told(project, capsys, "9" * 30)["images"]) == 3


def test_a_project_without_labels_says_what_to_do(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["next", "--project", str(project.root)]) == 1
    assert "labelstill label" in capsys.readouterr().err


def test_labels_db_is_only_read(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    many(project)

    def content() -> str:
        with Store.open(project.database_path) as store:
            return hashlib.sha256("\n".join(store._db.iterdump()).encode()).hexdigest()

    before = content()
    told(project, capsys)
    said(project, capsys)
    assert content() == before
