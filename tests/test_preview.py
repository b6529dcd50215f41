"""`labelstill label --preview`: a varied sample, a report, and a project that is exactly as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labeling import sampling
from labeling.cli import main
from labeling.image_files import FoundFile, scan
from labeling.images import load
from labeling.project import Project
from labeling.report import SHEET_SIZE
from labeling.sampling import farthest, features_of, spread, varied_sample
from tests.fakes import draw, draw_photos
from tests.test_label_command import CLASS_OF, command, digest
from tests.test_report import Page

pytestmark = pytest.mark.usefixtures("drawn_backend")

MAX_PIXELS = 10**6
LOAD = partial(load, max_pixels=MAX_PIXELS)


def plain(path: Path, colour: tuple[int, int, int], size_wh: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_wh, colour).save(path)
    return path


def sample(folder: Path, count: int) -> sampling.Sample:
    return varied_sample(scan([folder]).files, count, LOAD, max_pixels=MAX_PIXELS)


# The sample


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_of_many_alike_and_a_few_others_the_others_are_chosen(tmp_path: Path, suffix: str) -> None:
    for number in range(30):
        plain(tmp_path / f"grey-{number:02d}.{suffix}", (120 + number % 3, 120, 120), (640, 480))
    for name, colour in {"red": (250, 0, 0), "blue": (0, 0, 250), "white": (255, 255, 255)}.items():
        plain(tmp_path / f"{name}.{suffix}", colour)
    chosen = [file.path.stem for file in sample(tmp_path, 4).chosen]
    assert {"red", "blue", "white"} < set(chosen)
    assert len([name for name in chosen if name.startswith("grey")]) == 1
    assert [file.path.stem for file in sample(tmp_path, 4).chosen] == chosen == sorted(chosen)


def test_edges_count_where_the_mean_colours_are_the_same(tmp_path: Path) -> None:
    for number in range(10):
        plain(tmp_path / f"flat-{number}.png", (128, 128, 128))
    stripes = np.full((48, 64, 3), 1, dtype=np.uint8)
    stripes[:, np.arange(64) // 4 % 2 == 0] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert "stripes" in {file.path.stem for file in sample(tmp_path, 2).chosen}


def test_files_that_cannot_be_used_are_named_and_do_not_count(tmp_path: Path) -> None:
    for number in range(8):
        plain(tmp_path / f"{number}.png", (30 * number, 0, 0))
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no picture")
    plain(tmp_path / "huge.png", (1, 2, 3), (2000, 1000))
    found = sample(tmp_path, 5)
    assert len(found.chosen) == 5
    assert [file.path.name for file in found.unusable] == ["cut.png", "huge.png", "text.jpg"]


def test_a_picture_that_only_the_gate_can_read_is_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        plain(tmp_path / f"{number}.png", (60 * number, 0, 0))

    def no_quick_way(path: Path, max_pixels: int) -> Image.Image:
        raise OSError("this Pillow cannot")

    monkeypatch.setattr(sampling, "_quick_thumbnail", no_quick_way)
    assert len(sample(tmp_path, 2).chosen) == 2
    assert sample(tmp_path, 2).unusable == ()


def found(names: list[str]) -> list[FoundFile]:
    paths = sorted((Path("/photos") / name for name in names), key=os.fsencode)
    return [FoundFile(str(path), Path("/photos"), 1, 1) for path in paths]


def test_every_folder_is_looked_into_before_a_large_one_is_looked_into_twice() -> None:
    names = [f"large/{number:04d}.jpg" for number in range(1000)] + ["small/a.jpg", "b.jpg", "large/sub/c.jpg"]
    kept = Counter(str(file.path.parent) for file in spread(found(names), 13))
    assert kept == {"/photos/large": 10, "/photos/small": 1, "/photos": 1, "/photos/large/sub": 1}
    many = found([f"{number:03d}/photo.jpg" for number in range(100)])
    assert [file.path.parent.name for file in spread(many, 4)] == ["012", "037", "062", "087"]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 60))
def test_spread_gives_as_many_as_it_may(sizes: list[int], most: int) -> None:
    files = found([f"{folder}/{number:02d}.jpg" for folder, size in enumerate(sizes) for number in range(size)])
    kept = spread(files, most)
    assert len(kept) == len(set(kept)) == min(most, len(files))
    assert [file for file in files if file in set(kept)] == kept


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10))
def test_farthest_points_are_different_rows_and_each_is_the_farthest(rows: int, count: int, seed: int) -> None:
    features = np.random.default_rng(seed).integers(0, 4, (rows, 3)).astype(np.float32)
    picked = farthest(features, count)
    assert len(picked) == len(set(picked)) == min(rows, count)
    for step in range(1, len(picked)):
        gaps = np.linalg.norm(features[:, None] - features[picked[:step]][None], axis=2).min(axis=1)
        assert gaps[picked[step]] == pytest.approx(np.delete(gaps, picked[:step]).max())


def test_features_are_those_of_the_cells() -> None:
    pixels: npt.NDArray[np.uint8] = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:8, 8:16, 0] = 255
    cells = features_of(pixels).reshape(4, 4, 5)
    assert cells[0, 1, :3] == pytest.approx([1, 0, 0])
    assert cells[1:, :, :3].max() == 0
    # The red third of a grey step of 1/3 at a border is seen from both sides, by half, in 1 column of 8, four times.
    assert cells[0, 0, 3] == pytest.approx(4 / 3 / 2 / 8)
    assert cells[3, 3, 3:].tolist() == [0, 0]


# The command


def test_a_preview_before_there_is_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = draw_photos(tmp_path / "photos", 9)
    before = digest(tmp_path / "photos")
    assert main(command(tmp_path, "--preview", "20")) == 0
    output = capsys.readouterr()
    drawn = Counter(CLASS_OF[colour] for photo in photos for colour, _ in photo.shapes)
    assert f"previewed    9 of 9 photos, {drawn.total()} objects" in output.out
    assert all(f"{name} {count}" in output.out for name, count in drawn.items())
    report = tmp_path / "project" / "reports" / "preview.html"
    assert str(report) in output.out
    assert [path for path in (tmp_path / "project").rglob("*") if path.is_file()] == [report]
    page = Page(report.read_text())
    assert "A preview: 9 of 9 photos, chosen to differ from each other." in page.text
    assert f"{drawn.total()} objects of 4 classes on 9 photos." in page.text
    assert digest(tmp_path / "photos") == before
    # The command that it ends with does label everything.
    typed = shlex.split(output.out.splitlines()[-1])
    assert typed[0] == "labelstill"
    assert shlex.join(typed) in page.text
    assert shlex.join([*typed, "--preview", "20"]) in page.text
    assert main(typed[1:]) == 0
    assert "labelled     9 images" in capsys.readouterr().out


def test_an_existing_project_is_byte_for_byte_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_photos(tmp_path / "photos", 30)
    main(command(tmp_path, "--limit", "12"))
    before = digest(tmp_path / "project")
    assert {"labels.db", "project.yaml"} <= {Path(name).name for name in before}
    capsys.readouterr()
    assert main(command(tmp_path, "--json", "--preview", "5", classes="crimson: red box, new: violet box")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == [
        "previewed", "photos", "videos_left_out", "objects", "dropped", "quarantined", "seconds", "stopped", "report",
        "next",
    ]  # fmt: skip
    assert (answer["previewed"], answer["photos"]) == (5, 30)
    assert set(answer["objects"]) >= {"crimson", "new"}
    after = digest(tmp_path / "project")
    assert after.pop(answer["report"])[0] == hashlib.sha256(Path(answer["report"]).read_bytes()).hexdigest()
    assert after == before
    assert main(command(tmp_path, "--json", "--preview", "5")) == 0
    assert {path: after[path] for path in before} == before


def test_the_settings_of_the_project_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_photos(tmp_path / "photos", 6)
    project = Project.create(tmp_path / "project")
    project.config_path.write_text(
        "name: p\nclasses: [{name: sea, prompts: [blue box], threshold: 0.95}, {name: crimson, prompts: [red box]}]\n"
    )
    assert main(command(tmp_path, "--json", "--preview", "6", classes=None)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["objects"]["sea"] == 0
    assert answer["objects"]["crimson"] > 0
    assert answer["dropped"]["score"] > 0


def test_what_cannot_be_used_is_named_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(tmp_path / "photos", 20)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    assert main(command(tmp_path, "--preview", "4")) == 2
    said = capsys.readouterr().out
    assert "previewed    4 of 21 photos" in said
    assert "not usable   1 files" in said
    assert f"{tmp_path}/photos/bad.jpg: unreadable: " in said
    assert "bad.jpg" in Page((tmp_path / "project/reports/preview.html").read_text()).text


def test_not_one_usable_image_is_an_error_and_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"no image")
    assert main(command(tmp_path, "--preview", "2")) == 1
    assert "none of the 4 files can be used" in capsys.readouterr().err
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--preview", "0"], f"expected a number of photos from 1 to {SHEET_SIZE}"),
        (["--preview", str(SHEET_SIZE + 1)], f"--preview is {SHEET_SIZE + 1}"),
        (["--preview", "5", "--limit", "3"], "expected --preview or --limit, got both"),
        (["--preview", "some"], "'--preview'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "photos" / "a.png", [])
    assert main(command(tmp_path, *flags)) == 1
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "project").exists()
