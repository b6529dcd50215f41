"""The search: every entry of a folder is found, skipped or rejected, in one order, without following anything away."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from labeling.core.errors import InputError
from labeling.image_files import Scan, display, no_images_error, scan
from labeling.images import ImageRejected, load
from tests.badimages import ODD_NAMES, encoded, marked, write_corpus
from tests.privileges import bound_by_file_modes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it remarks on damaged metadata

PICTURE = encoded(marked(), "PNG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with two pictures, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.png").write_bytes(PICTURE)
    (folder / "sub/a.png").write_bytes(PICTURE)
    return folder


def found(result: Scan) -> list[str]:
    return [str(file.path.relative_to(file.root)) for file in result.files]


def rejected(result: Scan) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in result.rejected}


# --- the corpus


@pytest.mark.timeout(60)
def test_every_entry_of_the_corpus_has_one_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    wanted = write_corpus(folder)
    assert len(wanted) >= 110
    result = scan([folder])
    verdicts: dict[str, str] = {}
    for file in result.files:
        try:
            load(file.path, max_pixels=100_000_000)
        except ImageRejected as refused:
            verdicts[str(file.path.relative_to(folder))] = refused.reason
        else:
            verdicts[str(file.path.relative_to(folder))] = "ok"
    verdicts |= {str(entry.path.relative_to(folder)): "skipped" for entry in result.skipped}
    verdicts |= {str(entry.path.relative_to(folder)): entry.reason for entry in result.rejected}
    assert verdicts == wanted
    assert len(result.files) + len(result.skipped) + len(result.rejected) == len(wanted)
    for part in (result.files, result.skipped, result.rejected):
        paths = [os.fsencode(entry.path) for entry in part]
        assert paths == sorted(paths)
        assert len(paths) >= 7


def test_found_files_carry_what_tells_a_change(photos: Path) -> None:
    (file,) = scan([photos / "b.png"]).files
    info = (photos / "b.png").stat()
    assert (file.path, file.root, file.size, file.mtime_ns) == (
        photos / "b.png",
        photos,
        len(PICTURE),
        info.st_mtime_ns,
    )


# --- what is searched


def test_search_is_recursive_and_sorted(photos: Path) -> None:
    assert found(scan([photos])) == ["b.png", "sub/a.png"]


def test_inputs_that_overlap_count_once(photos: Path) -> None:
    result = scan([photos / "sub", photos, photos, photos / "b.png", photos / "sub/a.png"])
    assert [file.path for file in result.files] == [photos / "b.png", photos / "sub/a.png"]
    assert [file.root for file in result.files] == [photos, photos / "sub"]  # the first input that has it
    assert found(scan([photos, photos / "sub/a.png"])) == ["b.png", "sub/a.png"]


def test_input_that_is_a_link_is_resolved_first(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "link.png").symlink_to(photos / "b.png")
    assert scan([tmp_path / "link"]) == scan([photos])
    assert scan([tmp_path / "link.png"]) == scan([photos / "b.png"])


def test_excluded_paths_are_passed_over(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(photos / "sub")
    result = scan([photos], exclude=[tmp_path / "elsewhere", photos / "not-there"])
    assert found(result) == ["b.png"]
    assert (result.skipped, result.rejected) == ((), ())
    (photos / "again").symlink_to("sub")
    assert found(scan([photos], exclude=[photos / "sub"], follow_links=True)) == ["b.png"]
    assert found(scan([photos / "sub"], exclude=[photos / "sub"])) == ["a.png"]  # named, so wanted


def test_very_deep_folders_end_in_a_verdict(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    folder = top
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=folder)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    (tmp_path / "x.png").write_bytes(PICTURE)
    result = scan([tmp_path])
    assert found(result) == ["x.png"]
    assert [entry.reason for entry in result.rejected] == ["unreadable"]


def test_folder_that_may_not_be_read_is_rejected_and_the_rest_found(photos: Path) -> None:
    (photos / "sub").chmod(0)
    try:
        with bound_by_file_modes():
            result = scan([photos])
    finally:
        (photos / "sub").chmod(0o755)
    assert found(result) == ["b.png"]
    assert rejected(result) == {"sub": "permission"}


def test_file_that_may_not_be_read_is_found_by_its_name_only(photos: Path) -> None:
    (photos / "nameless").write_bytes(PICTURE)
    for name in ("nameless", "b.png"):
        (photos / name).chmod(0)
    with bound_by_file_modes():
        result = scan([photos])
    assert found(result) == ["b.png", "sub/a.png"]
    assert [entry.path.name for entry in result.skipped] == ["nameless"]


# --- links


def test_followed_links_reach_outside_and_end(photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.png").write_bytes(PICTURE)
    (outside / "back").symlink_to(photos)
    (outside / "round").symlink_to(outside)
    (photos / "z").symlink_to(outside)
    (photos / "a").symlink_to(outside)
    (photos / "far.png").symlink_to(outside / "far.png")
    (photos / "up").symlink_to("/")
    result = scan([photos], follow_links=True)
    assert found(result) == ["a/far.png", "b.png", "far.png", "sub/a.png"]
    assert rejected(result) == {"up": "link_loop", "round": "link_loop"}
    assert sorted(entry.path.name for entry in result.skipped) == ["back", "z"]
    closed = scan([photos])
    assert found(closed) == ["b.png", "sub/a.png"]
    assert rejected(closed) == dict.fromkeys(("a", "far.png", "up", "z"), "link_outside")
    assert "images.follow_links" in closed.rejected[0].detail


def test_folder_behind_several_links_is_searched_once(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/inner").mkdir(parents=True)
    (tmp_path / "outside/inner/far.png").write_bytes(PICTURE)
    (photos / "1").symlink_to(tmp_path / "outside/inner")
    (photos / "2").symlink_to(tmp_path / "outside")
    (photos / "3").symlink_to("sub")
    result = scan([photos], follow_links=True)
    assert found(result) == ["1/far.png", "b.png", "sub/a.png"]
    assert [entry.path.name for entry in result.skipped] == ["3"]


def test_link_from_one_input_into_another_is_no_way_out(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").symlink_to(photos / "b.png")
    (other / "all").symlink_to(photos)
    assert rejected(scan([other])) == {"b.png": "link_outside", "all": "link_outside"}
    together = scan([other, photos])
    assert together.rejected == ()
    assert found(together) == ["b.png", "b.png", "sub/a.png"]


def test_folder_whose_name_begins_alike_is_outside(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos-more").mkdir()
    (tmp_path / "photos-more/c.png").write_bytes(PICTURE)
    (photos / "c.png").symlink_to("../photos-more/c.png")
    assert rejected(scan([photos])) == {"c.png": "link_outside"}


# --- errors and texts


def test_input_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone: no such file or folder; expected a folder with images"):
        scan([tmp_path / "gone"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: Too many levels of symbolic links"):
        scan([tmp_path / "loop"])
    with pytest.raises(InputError, match="null"):
        scan([Path("a\0b")])


def test_error_for_an_empty_selection_says_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    assert str(no_images_error([folder], scan([folder]))).startswith(
        f"no image in {folder}: it is empty; expected JPEG"
    )
    (folder / "notes.txt").write_text("text")
    (folder / "gone.jpg").symlink_to("nowhere")
    text = str(no_images_error([folder], scan([folder])))
    assert f"1 could not be used (first: {folder}/gone.jpg: broken_link: the target of the link" in text
    assert "; 1 files are no images; expected" in text
    assert "\n" not in text


def test_odd_names_are_shown_as_one_line_of_valid_text() -> None:
    assert len(ODD_NAMES) >= 10
    for name in ODD_NAMES:
        shown = display(Path("photos") / name)
        shown.encode()
        assert unicodedata.is_normalized("NFC", shown)
        assert shown.splitlines() == [shown]
        assert "\x1b" not in shown
    assert display(Path(os.fsdecode(b"a\xff\n\x1b.png"))) == r"a\xff\n\x1b.png"
