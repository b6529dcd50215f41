"""The pictures that people see: upright copies of exactly the photos that were labelled, made and handed over once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from labeling.core.errors import InputError, ServerError, StateError
from labeling.core.ontology import parse_classes
from labeling.core.store import Store
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from labeling.studio import copies, media
from labeling.studio.client import StudioClient
from labeling.studio.folder import files_path
from labeling.studio.media import Media
from labeling.studio.target import open_target
from tests import fake_studio_faults as faults
from tests import made_stores as made
from tests.badimages import encoded, exif, marked
from tests.fake_studio import FakeStudio
from tests.studio_servers import StudioServer

pytestmark = pytest.mark.http


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", parse_classes("box"))


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with project.open_store(create=True) as store:
        yield store


@pytest.fixture
def fake(project: Project) -> Iterator[FakeStudio]:
    with FakeStudio(files_root=files_path(project)) as studio:
        yield studio


@pytest.fixture
def client(fake: FakeStudio) -> Iterator[StudioClient]:
    with StudioClient(fake.url, fake.token) as client:
        yield client


def known(store: Store, *paths: Path) -> str:
    """Note these files of one image as labelled; return its sha256."""
    outcome = made.outcome(paths, ())
    made.write(store, ["box"], [outcome])
    return outcome.sha256 or ""


def photo(path: Path, seed: int = 0) -> Path:
    return made.photo(path, seed=seed)


def opened(project: Project, store: Store, client: StudioClient) -> Media:
    return Media(project, store, client, StudioLedger(store).save_target(client.url, 1, config="", media="local"))


def uploading(project: Project, store: Store, client: StudioClient, fake: FakeStudio) -> Media:
    number = min(fake.records.projects, default=0) or fake.add_project()
    return Media(project, store, client, StudioLedger(store).save_target(client.url, number, config="", media="upload"))


def served(project: Project, address: str) -> Path:
    """Return the file that a server with our document root hands out for an address."""
    parts = urlsplit(address)
    assert parts.path == "/data/local-files/"
    (path,) = parse_qs(parts.query)["d"]
    return files_path(project) / path


def test_a_plain_photo_is_served_byte_for_byte_under_its_hash(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    path = photo(tmp_path / "häfen & co #1" / "50% off?.png")
    sha256 = known(store, path)
    address = opened(project, store, client).address(sha256)
    assert address == f"/data/local-files/?d=images/{sha256[:2]}/{sha256}.png"
    copy = served(project, address)
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o644


def test_a_turned_photo_is_served_upright_and_without_its_metadata(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(marked(), "JPEG", exif=exif(6)))
    copy = served(project, opened(project, store, client).address(known(store, path)))
    with Image.open(path) as stored, Image.open(copy) as shown:
        assert shown.size == stored.size[::-1]
        assert not shown.getexif()
    assert b"SECRET" in path.read_bytes()
    assert b"SECRET" not in copy.read_bytes()


def test_a_copy_is_made_once(project: Project, store: Store, client: StudioClient, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    sha256 = known(store, path)
    address = opened(project, store, client).address(sha256)
    before = served(project, address).stat()
    path.unlink()
    assert opened(project, store, client).address(sha256) == address
    after = served(project, address).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("left", ["empty", "link"])
def test_what_is_no_whole_copy_is_made_anew(
    project: Project, store: Store, client: StudioClient, tmp_path: Path, left: str
) -> None:
    path = photo(tmp_path / "a.png")
    sha256 = known(store, path)
    copy = served(project, opened(project, store, client).address(sha256))
    secret = tmp_path / "secret"
    secret.write_text("not for others")
    copy.unlink()
    if left == "empty":
        copy.touch()
    else:
        copy.symlink_to(secret)
    opened(project, store, client).address(sha256)
    assert not copy.is_symlink()
    assert copy.read_bytes() == path.read_bytes()
    assert secret.read_text() == "not for others"


@pytest.mark.parametrize("place", ["studio/files", "studio/files/images", "shard"])
def test_a_link_in_place_of_a_folder_of_copies_is_refused(
    project: Project, store: Store, client: StudioClient, tmp_path: Path, place: str
) -> None:
    sha256 = known(store, photo(tmp_path / "a.png"))
    link = project.root / (f"studio/files/images/{sha256[:2]}" if place == "shard" else place)
    link.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link.symlink_to(elsewhere)
    with pytest.raises(StateError, match="got a link") as error:
        opened(project, store, client).address(sha256)
    assert str(link) in str(error.value)
    assert not list(elsewhere.iterdir())


def test_a_photo_that_is_gone_is_named(project: Project, store: Store, client: StudioClient, tmp_path: Path) -> None:
    path = photo(tmp_path / "gone.png")
    sha256 = known(store, path)
    path.unlink()
    with pytest.raises(InputError, match=r"gone\.png: the photo is gone"):
        opened(project, store, client).address(sha256)


@pytest.mark.parametrize("now", ["another photo", "no photo", "cut off"])
def test_a_photo_that_was_replaced_is_not_shown_to_anyone(
    project: Project, store: Store, client: StudioClient, tmp_path: Path, now: str
) -> None:
    path = photo(tmp_path / "a.png")
    sha256, data = known(store, path), path.read_bytes()
    if now == "another photo":
        photo(path, seed=1)
    else:
        path.write_bytes(b"words" if now == "no photo" else data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.png: holds another picture.*labelstill label"):
        opened(project, store, client).address(sha256)
    assert not [found for found in files_path(project).rglob("*") if found.is_file()]


def test_another_file_with_the_same_bytes_stands_in(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    first, second, third = (photo(tmp_path / name, seed=3) for name in ("a.png", "b.png", "c.png"))
    sha256 = known(store, first, second, third)
    first.unlink()
    photo(second, seed=4)
    copy = served(project, opened(project, store, client).address(sha256))
    assert copy.read_bytes() == third.read_bytes()


def test_settings_of_the_gate_hold_for_copies(store: Store, client: StudioClient, project: Project) -> None:
    path = project.root / "glass.png"
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(path)
    project.config_path.write_text(project.config_path.read_text() + "images:\n  background: '#ff0000'\n")
    copy = served(project, opened(Project.open(project.root), store, client).address(known(store, path)))
    with Image.open(copy) as shown:
        assert shown.getpixel((5, 5)) == (255, 0, 0)


def test_many_at_once_keep_their_order_and_their_refusals(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    outcomes = [made.outcome([photo(tmp_path / f"{number}.png", seed=number)], ()) for number in range(40)]
    made.write(store, ["box"], outcomes)
    names = [outcome.sha256 or "" for outcome in outcomes]
    for number in (0, 7, 39):
        (tmp_path / f"{number}.png").unlink()
    opened(project, store, client).address(names[20])
    found, refused = opened(project, store, client).addresses([*names, names[5]])
    assert list(refused) == [names[0], names[7], names[39]]
    assert list(found) == [name for name in names if name not in refused]
    for sha256, address in found.items():
        assert hashlib.sha256(served(project, address).read_bytes()).hexdigest() == sha256


def test_few_copies_wait_in_memory(
    project: Project, store: Store, client: StudioClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_THREADS", 2)
    outcomes = [made.outcome([photo(tmp_path / f"{number}.png", seed=number)], ()) for number in range(20)]
    made.write(store, ["box"], outcomes)
    asked: list[str] = []
    files_of = store.files_of

    def counting(sha256: str) -> tuple[Path, ...]:
        asked.append(sha256)
        return files_of(sha256)

    monkeypatch.setattr(store, "files_of", counting)
    names = [outcome.sha256 or "" for outcome in outcomes]
    for position, copy in enumerate(copies.Copies(project, store).in_memory(names)):
        assert copy.sha256 == names[position]
        assert len(asked) - position <= 4
    assert asked == names


def test_no_copy_is_left_half_written(
    project: Project, store: Store, client: StudioClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = known(store, photo(tmp_path / "a.png"))

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left on device: check the folder and its space"):
        opened(project, store, client).address(sha256)
    assert not [found for found in files_path(project).rglob("*") if found.is_file()]


# What a server makes of it


def test_check_takes_the_picture_that_a_server_shows(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    sha256 = known(store, photo(tmp_path / "a.png"))
    target = open_target(project, store, client, local=True)
    pictures = Media(project, store, client, target)
    pictures.check(pictures.address(sha256))


def test_check_says_that_the_storage_is_missing(
    project: Project, store: Store, client: StudioClient, tmp_path: Path
) -> None:
    pictures = opened(project, store, client)
    address = pictures.address(known(store, photo(tmp_path / "a.png")))
    with pytest.raises(ServerError, match=r"could not see.*needs a local storage for .*--upload") as error:
        pictures.check(address)
    assert str(copies.images_path(project)) in str(error.value)
    assert "\n" not in str(error.value)


def test_check_says_that_the_document_root_lies_elsewhere(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, tmp_path: Path
) -> None:
    sha256 = known(store, photo(tmp_path / "a.png"))
    pictures = Media(project, store, client, open_target(project, store, client, local=True))
    address = pictures.address(sha256)
    fake.records.files_root = project.studio_path
    with pytest.raises(ServerError, match=f"DOCUMENT_ROOT={files_path(project)}"):
        pictures.check(address)


@pytest.mark.parametrize("kind", ["login page", "another file"])
def test_check_compares_the_bytes(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, tmp_path: Path, kind: str
) -> None:
    sha256 = known(store, photo(tmp_path / "a.png"))
    pictures = Media(project, store, client, open_target(project, store, client, local=True))
    address = pictures.address(sha256)
    if kind == "login page":
        fake.faults.append(faults.login_page("GET", "/data/local-files"))
    else:
        fake.faults.append(faults.Fault("GET", "/data/local-files", status=200, body="other bytes"))
    with pytest.raises(ServerError, match="--upload") as error:
        pictures.check(address)
    assert fake.token not in str(error.value)


def test_uploads_travel_once_in_groups_and_are_remembered(
    project: Project,
    store: Store,
    client: StudioClient,
    fake: FakeStudio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [photo(tmp_path / f"{number}.png", seed=number) for number in range(7)]
    outcomes = [made.outcome([path], ()) for path in paths]
    made.write(store, ["box"], outcomes)
    names = [outcome.sha256 or "" for outcome in outcomes]
    monkeypatch.setattr(media, "MAX_UPLOAD_FILES", 3)
    pictures = uploading(project, store, client, fake)
    found, refused = pictures.addresses(names)
    assert not refused
    assert list(found) == names
    assert fake.count("POST", "/import") == 3
    shown = {f"/data/{file}": content for _, file, content in fake.records.uploads.values()}
    assert {shown[found[name]] for name in names} == {path.read_bytes() for path in paths}
    assert all(shown[found[name]] == path.read_bytes() for name, path in zip(names, paths, strict=True))
    pictures.check(found[names[4]])
    assert not fake.tasks()
    assert not list(copies.images_path(project).iterdir())

    again = uploading(project, store, client, fake)
    assert again.addresses(names) == (found, {})
    assert fake.count("POST", "/import") == 3


def test_a_group_of_uploads_stays_below_its_size(
    project: Project,
    store: Store,
    client: StudioClient,
    fake: FakeStudio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [photo(tmp_path / f"{number}.png", seed=number) for number in range(4)]
    outcomes = [made.outcome([path], ()) for path in paths]
    made.write(store, ["box"], outcomes)
    largest = max(path.stat().st_size for path in paths)
    names = [outcome.sha256 or "" for outcome in outcomes]
    monkeypatch.setattr(media, "MAX_UPLOAD_BYTES", 2 * largest)
    assert len(uploading(project, store, client, fake).addresses(names[:2])[0]) == 2
    assert fake.count("POST", "/import") == 1
    monkeypatch.setattr(media, "MAX_UPLOAD_BYTES", largest // 2)
    assert len(uploading(project, store, client, fake).addresses(names)[0]) == 4
    assert fake.count("POST", "/import") == 3


def test_what_arrived_before_a_failure_is_not_sent_again(
    project: Project,
    store: Store,
    client: StudioClient,
    fake: FakeStudio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = [made.outcome([photo(tmp_path / f"{number}.png", seed=number)], ()) for number in range(4)]
    made.write(store, ["box"], outcomes)
    names = [outcome.sha256 or "" for outcome in outcomes]
    monkeypatch.setattr(media, "MAX_UPLOAD_FILES", 2)
    fake.faults.append(faults.cut_before("POST", "/import", nth=2))
    with pytest.raises(ServerError):
        uploading(project, store, client, fake).addresses(names)
    found, _ = uploading(project, store, client, fake).addresses(names)
    assert list(found) == names
    assert len(fake.records.uploads) == 4


@pytest.mark.server
@pytest.mark.parametrize("upload", [False, True])
def test_a_real_label_studio_shows_the_very_bytes(studio_server: StudioServer, tmp_path: Path, upload: bool) -> None:
    project = Project.open(studio_server.project_root)
    with (
        Store.open(tmp_path / "labels.db", create=True) as store,
        StudioClient(studio_server.url, studio_server.token) as client,
    ):
        turned = tmp_path / "turned & 100%.jpg"
        turned.write_bytes(encoded(marked(), "JPEG", exif=exif(6)))
        outcomes = [made.outcome([path], ()) for path in (turned, photo(tmp_path / "b.png", seed=os.getpid()))]
        made.write(store, ["box"], outcomes)
        pictures = Media(project, store, client, open_target(project, store, client, local=True, upload=upload))
        found, refused = pictures.addresses([outcome.sha256 or "" for outcome in outcomes])
        assert not refused
        assert len(found) == 2
        for address in found.values():
            pictures.check(address)
        with Image.open(BytesIO(client.fetch(found[outcomes[0].sha256 or ""]))) as shown:
            assert np.asarray(shown).shape == (*marked().shape[:2][::-1], 3)
