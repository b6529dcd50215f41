"""Export folders: whole or not at all, and only our own files are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from labeling.core.errors import InputError
from labeling.formats.folder import OWN_FILES, export_folder


def write(out: Path, files: dict[str, str], force: bool = False) -> None:
    with export_folder(out, "index.txt", force=force) as folder:
        for name, text in {**files, "index.txt": " ".join(files)}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    write(tmp_path / "a/b/out", {"x/1.txt": "one"})
    assert (tmp_path / "a/b/out/x/1.txt").read_text() == "one"
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["out"]


def test_failure_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        with export_folder(out, "index.txt", force=False) as folder:
            (folder / "index.txt").write_text("half")
            raise RuntimeError("stop")

    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(RuntimeError):
            fail(out)
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_folder_with_something_in_it_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("keep")
    with pytest.raises(InputError, match=r"not empty \(theirs\.txt.*--force"):
        write(tmp_path, {"1.txt": "one"})
    assert tree(tmp_path) == {"theirs.txt": "keep"}


def test_force_replaces_the_earlier_export_and_leaves_what_it_did_not_write(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, {"x/1.txt": "one", "x/2.txt": "two"})
    (out / "x/theirs.txt").write_text("keep")
    write(out, {"x/2.txt": "new", "x/3.txt": "three"}, force=True)
    files = tree(out)
    assert files.pop(OWN_FILES).splitlines() == ["index.txt", "x/2.txt", "x/3.txt"]
    assert files == {"x/theirs.txt": "keep", "x/2.txt": "new", "x/3.txt": "three", "index.txt": "x/2.txt x/3.txt"}


@pytest.mark.parametrize("theirs", ["x/1.txt", "index.txt"])
def test_force_never_replaces_what_no_export_wrote(theirs: str, tmp_path: Path) -> None:
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_text("a photo")
    with pytest.raises(InputError, match=rf"{theirs} and 0 more there are no files of an earlier export"):
        write(tmp_path, {"x/1.txt": "one"}, force=True)
    assert tree(tmp_path) == {theirs: "a photo"}


def test_list_of_own_files_cannot_reach_outside(tmp_path: Path) -> None:
    out, canary = tmp_path / "out", tmp_path / "canary"
    (tmp_path / "elsewhere").mkdir()
    for path in (canary, tmp_path / "elsewhere/canary"):
        path.write_text("alive")
    write(out, {"1.txt": "one"})
    (out / "link").symlink_to(tmp_path / "elsewhere")
    (out / OWN_FILES).write_text(f"index.txt\n../canary\n{canary}\nlink/canary\nx/../../canary\n")
    write(out, {"2.txt": "two"}, force=True)
    assert canary.read_text() == (tmp_path / "elsewhere/canary").read_text() == "alive"


def test_leftover_of_a_killed_export_is_no_obstacle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with export_folder(out, "index.txt", force=False) as folder:
        leftover = folder.name
        (folder / "index.txt").write_text("x")
    other = tmp_path / "other"
    (other / leftover).mkdir(parents=True)
    (other / leftover / "half.txt").write_text("half")
    write(other, {"1.txt": "one"})
    assert set(tree(other)) == {"1.txt", "index.txt", OWN_FILES}


def test_file_and_unwritable_place_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        write(tmp_path / "file", {})
    for out in (tmp_path / "file/out", Path("/proc/labelstill/out")):
        with pytest.raises(InputError, match="cannot be written") as caught:
            write(out, {})
        assert "\n" not in str(caught.value)
