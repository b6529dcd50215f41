"""Embeddings and pictures that stand for prompts: what is read from disk, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labeling.core.errors import InputError
from labeling.teachers.embeddings import read_embeddings
from labeling.teachers.exemplars import find_exemplars, read_exemplar

NAMES = ("box", "cone")


def picture(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    picture(tmp_path / "crops" / "box" / "b.png")
    picture(tmp_path / "crops" / "box" / "a.jpg")
    picture(tmp_path / "crops" / "cone" / "c.PNG")
    return tmp_path / "crops"


def test_pictures_come_by_class_and_by_name(crops: Path) -> None:
    (crops / ".DS_Store").write_text("x")
    found = find_exemplars(crops, ("cone", "box"))
    assert [[file.name for file in files] for files in found] == [["c.PNG"], ["a.jpg", "b.png"]]


def test_a_folder_named_in_another_unicode_form_is_the_class(tmp_path: Path) -> None:
    picture(tmp_path / "crops" / "Tu\u0308r" / "a.png")
    assert len(find_exemplars(tmp_path / "crops", ["T\u00fcr"])[0]) == 1


def test_the_whole_picture_counts_unless_boxes_lie_beside_it(crops: Path) -> None:
    file = crops / "box" / "b.png"
    whole = read_exemplar(file)
    assert whole.pixels.shape == (30, 40, 3)
    assert whole.boxes_xyxy.tolist() == [[0, 0, 40, 30]]
    file.with_suffix(".txt").write_text("1 2 11.5 12\n\n20, 0, 40, 30\n")
    assert read_exemplar(file).boxes_xyxy.tolist() == [[1, 2, 11.5, 12], [20, 0, 40, 30]]
    assert read_exemplar(file).boxes_xyxy.dtype == np.float32
    assert [path.name for path in find_exemplars(crops, NAMES)[0]] == ["a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line x0 y0 x1 y1 per object"),
        ("1 2 3", r"b.txt:1: expected x0 y0 x1 y1 in pixels, got '1 2 3'"),
        ("0 0 9 9\n1 2 3 four", r"b.txt:2: expected x0 y0 x1 y1"),
        ("1 2 3 nan", "expected x0 y0 x1 y1"),
        ("5 5 5 9", "does not lie inside its picture of 40 x 30"),
        ("9 5 5 9", "does not lie inside"),
        ("0 0 41 30", "does not lie inside"),
        ("-1 0 4 3", "does not lie inside"),
        ("0 0 9 9\n" * 20_000, "more than 100000 bytes"),
    ],
)
def test_boxes_that_cannot_be_are_refused(crops: Path, text: str, message: str) -> None:
    (crops / "box" / "b.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_exemplar(crops / "box" / "b.png")


def test_folders_and_files_that_do_not_belong_are_refused(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such folder"):
        find_exemplars(tmp_path / "absent", NAMES)
    with pytest.raises(InputError, match="the folder 'cone' is no class, did you mean 'cones'"):
        find_exemplars(crops, ("box", "cones"))
    with pytest.raises(InputError, match="no picture for the class 'ladder'"):
        find_exemplars(crops, (*NAMES, "ladder"))
    (crops / "ladder").mkdir()
    with pytest.raises(InputError, match="no picture for the class 'ladder'"):
        find_exemplars(crops, (*NAMES, "ladder"))
    (crops / "ladder").rmdir()
    for stray, message in [
        ("cone/x.txt", "no picture x beside it"),
        ("cone/x.pdf", "neither a picture"),
        ("x", "is no folder"),
    ]:
        (crops / stray).write_text("0 0 1 1")
        with pytest.raises(InputError, match=message):
            find_exemplars(crops, NAMES)
        (crops / stray).unlink()


@pytest.mark.parametrize("place", ["cone/link.png", "ladder"])
def test_links_are_not_followed(crops: Path, tmp_path: Path, place: str) -> None:
    target = picture(tmp_path / "elsewhere" / "secret.png")
    (crops / place).symlink_to(target if place.endswith("png") else target.parent)
    with pytest.raises(InputError, match="is a link, and none is followed"):
        find_exemplars(crops, (*NAMES, "ladder"))


def test_a_picture_that_does_not_decode_is_refused(crops: Path) -> None:
    broken = crops / "box" / "b.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=r"exemplar .*b.png cannot be used: "):
        read_exemplar(broken)


def saved(path: Path, **vectors: Any) -> Path:
    from safetensors.numpy import save_file

    save_file({name.replace("_", " "): np.asarray(vector) for name, vector in vectors.items()}, path)
    return path


def test_embeddings_come_in_the_order_of_the_prompts_with_length_one(tmp_path: Path) -> None:
    file = saved(
        tmp_path / "e.safetensors",
        red_box=np.array([3.0, 4.0], dtype=np.float32),
        cone=np.array([[0.0, 2.0]], dtype=np.float16),
        other=np.array([1.0]),
    )
    found = read_embeddings(file, ["cone", "red box"], 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 1], [0.6, 0.8]])


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.zeros(2), "is zero or not finite"),
        (np.array([1, np.nan]), "is zero or not finite"),
        (np.array([1, np.inf]), "is zero or not finite"),
        (np.ones(3), r"has shape \(3,\) and type float64, this model reads 2 floats"),
        (np.ones((2, 1, 2)), "has shape"),
        (np.ones(2, dtype=np.int64), "type int64"),
    ],
)
def test_vectors_that_no_model_reads_are_refused(tmp_path: Path, vector: Any, message: str) -> None:
    file = saved(tmp_path / "e.safetensors", cone=vector)
    with pytest.raises(InputError, match=message):
        read_embeddings(file, ["cone"], 2)


def test_a_prompt_without_an_embedding_is_named_with_the_nearest(tmp_path: Path) -> None:
    file = saved(tmp_path / "e.safetensors", red_box=np.ones(2), cone=np.ones(2))
    with pytest.raises(
        InputError, match=r"no vector for the prompt 'red boxes' among their 2, the nearest is 'red box'"
    ):
        read_embeddings(file, ["cone", "red boxes"], 2)


def test_files_that_are_no_embeddings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_embeddings(tmp_path / "absent", ["cone"], 2)
    (tmp_path / "text").write_text("cone: 1 2 3")
    with pytest.raises(InputError, match="are no safetensors file"):
        read_embeddings(tmp_path / "text", ["cone"], 2)
