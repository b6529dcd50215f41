"""The photo of a task: only from files that labels.db names, only with the same bytes, else only from this server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labeling.core.errors import InputError, ServerError
from labeling.core.store import Store
from labeling.core.store_studio import StudioLedger, Task
from labeling.images import ImageRejected
from labeling.studio.client import StudioClient
from labeling.studio.task_photos import TaskPhotos
from tests import made_stores
from tests.fake_studio import FakeStudio

pytestmark = pytest.mark.http

GATE = {"max_pixels": 1_000_000, "background": "white", "accept_truncated": False}
SHOWN = "/data/upload/1/is-not-there.png"


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    with FakeStudio() as studio:
        yield studio


@pytest.fixture
def client(fake: FakeStudio) -> Iterator[StudioClient]:
    with StudioClient(fake.url, fake.token) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as store:
        yield store


@pytest.fixture
def photos(store: Store, fake: FakeStudio, client: StudioClient) -> TaskPhotos:
    target = StudioLedger(store).save_target(fake.url, fake.add_project(), config="", media="upload")
    return TaskPhotos(store, client, target, GATE)


def known(store: Store, path: Path) -> str:
    """Let labels.db know a photo; return its sha256."""
    made_stores.photo(path)
    outcome = made_stores.outcome([path], [])
    made_stores.write(store, ("box",), [outcome])
    assert outcome.sha256 is not None
    return outcome.sha256


def png(value: int = 7) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_a_photo_that_labels_db_knows_is_read_from_its_file(
    photos: TaskPhotos, store: Store, fake: FakeStudio, tmp_path: Path
) -> None:
    sha256 = known(store, tmp_path / "a.png")
    assert photos.load({"image": SHOWN, "labelstill_id": sha256}).sha256 == sha256
    assert fake.requests == []


@pytest.mark.parametrize("change", ["gone", "another picture", "a pipe to nowhere"])
def test_a_file_that_is_not_the_photo_any_more_is_not_read_for_it(
    photos: TaskPhotos, store: Store, client: StudioClient, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "a.png"
    sha256 = known(store, path)
    path.unlink()
    if change == "another picture":
        made_stores.photo(path, seed=1)
    if change == "a pipe to nowhere":
        import os

        os.mkfifo(path)
    (address,) = client.upload_images(1, [("a.png", png())])
    loaded = photos.load({"image": address, "labelstill_id": sha256})
    assert (loaded.pixels == 7).all()


def test_an_image_that_people_added_is_fetched_and_passes_the_gate(photos: TaskPhotos, client: StudioClient) -> None:
    small, text = client.upload_images(1, [("a.png", png(9)), ("b.png", b"<html>no picture")])
    loaded = photos.load({"image": small})
    assert (loaded.pixels.shape, loaded.format) == ((30, 40, 3), "PNG")
    assert (photos.load({"image": f"{client.url}{small}"}).pixels == 9).all()
    with pytest.raises(ImageRejected, match="unreadable"):
        photos.load({"image": text})


@pytest.mark.parametrize("with_id", [False, True])
@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "//evil.example/data/a.png", "/etc/passwd",
        "https://evil.example/data/a.png?signature=secret", "/api/users", "/data/../api/current-user/token",
        "/user/logout", "data/../../api/users", "http://127.0.0.1:1/data/a.png", "http://[", "s3://bucket/a.png",
        "http://user:pass@{host}/data/a.png", "http://{host}@evil.example/data/a.png", "\\\\evil\\data\\a.png",
        "data:image/png;base64,", "", None, 3, ["/data/a.png"], {"url": "/data/a.png"},
    ],
)  # fmt: skip
def test_other_addresses_are_refused_in_a_sentence_and_nobody_is_asked(
    photos: TaskPhotos, store: Store, fake: FakeStudio, tmp_path: Path, address: Any, with_id: bool
) -> None:
    if isinstance(address, str):
        address = address.replace("{host}", fake.url.removeprefix("http://"))
    data = {"image": address} | ({"labelstill_id": known(store, tmp_path / "a.png")} if with_id else {})
    with pytest.raises(InputError) as caught:
        photos.load(data)
    sentence = str(caught.value)
    assert "data.image" in sentence
    assert "\n" not in sentence
    assert not any(secret in sentence for secret in ("secret", fake.token))
    assert fake.requests == []


def test_a_picture_that_the_server_does_not_have_is_named_without_the_token(
    photos: TaskPhotos, fake: FakeStudio
) -> None:
    fake.records.files_root = None
    with pytest.raises(ServerError) as caught:
        photos.load({"image": "/data/local-files/?d=a.png", "labelstill_id": "\ud800"})
    assert fake.token not in str(caught.value)


def test_below_a_sub_path_pictures_are_found_and_nothing_beside_it(store: Store) -> None:
    with FakeStudio(prefix="/studio") as fake, StudioClient(fake.url, fake.token) as client:
        target = StudioLedger(store).save_target(fake.url, fake.add_project(), config="", media="upload")
        photos = TaskPhotos(store, client, target, GATE)
        (address,) = client.upload_images(1, [("a.png", png(5))])
        for shown in (address, f"/studio{address}", f"{fake.url}{address}"):
            assert (photos.load({"image": shown}).pixels == 5).all()
        with pytest.raises(InputError, match="hands out"):
            photos.load({"image": f"{fake.url.removesuffix('/studio')}/other/data/a.png"})


def test_photos_that_are_pushed_without_help_are_known_by_the_ledger(
    photos: TaskPhotos, store: Store, tmp_path: Path
) -> None:
    sha256 = known(store, tmp_path / "a.png")
    ledger = StudioLedger(store)
    (target,) = ledger.targets()
    other = ledger.save_target("http://127.0.0.1:1", 1, config="", media="upload")

    def is_blind() -> bool:
        return photos.is_blind({"image": SHOWN, "labelstill_id": sha256})

    assert not is_blind()
    ledger.intend(other, [(Task(sha256, None, "intended", 0, "", "", blind=True), [])])
    assert not is_blind()
    ledger.intend(target, [(Task(sha256, None, "intended", 0, "", "", blind=True), [])])
    assert is_blind()
    ledger.intend(target, [(Task(sha256, None, "intended", 0, "", ""), [])])
    assert not is_blind()
    assert not any(photos.is_blind({"labelstill_id": value}) for value in (None, 3, [], "\ud800", "x"))
