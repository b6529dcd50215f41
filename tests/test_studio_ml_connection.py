"""A project asks our model and no other, at the address of today, and people are shown what they were shown before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labeling.core.errors import ServerError, StateError
from labeling.studio.client import StudioClient
from labeling.studio.ml_backend import MlBackend
from tests.fake_studio import FakeStudio
from tests.fake_studio_ml import models

pytestmark = pytest.mark.http

TITLE = "our model"


@pytest.fixture
def fake() -> Iterator[FakeStudio]:
    with FakeStudio() as studio:
        yield studio


@pytest.fixture
def client(fake: FakeStudio) -> Iterator[StudioClient]:
    with StudioClient(fake.url, fake.token) as client:
        yield client


class Silent:
    """Nobody asks it in these tests."""

    def answer(self, data: object, drawn: object = ()) -> dict[str, object]:
        raise AssertionError("nobody has asked")


@pytest.fixture
def backend() -> Iterator[MlBackend]:
    with MlBackend(Silent()) as backend:  # type: ignore[arg-type]
        yield backend


def asked(fake: FakeStudio) -> list[tuple[str, str, bool]]:
    return [(row["title"], row["url"], row["is_interactive"]) for row in models(fake.records).backends.values()]


@pytest.mark.parametrize("webhooks", [False, True])
@pytest.mark.parametrize("version", ["labelstill", ""])
def test_connecting_adds_one_model_and_changes_nothing_else(
    fake: FakeStudio, client: StudioClient, backend: MlBackend, webhooks: bool, version: str
) -> None:
    number = fake.add_project(model_version=version)
    models(fake.records).local_webhooks = webhooks
    client.connect_ml_backend(number, backend.url, TITLE)
    client.connect_ml_backend(number, backend.url, TITLE)
    assert asked(fake) == [(TITLE, backend.url, True)]
    assert models(fake.records).webhooks == {}
    assert fake.records.projects[number]["model_version"] == version


def test_a_model_that_was_left_behind_is_moved_to_the_new_address(
    fake: FakeStudio, client: StudioClient, backend: MlBackend
) -> None:
    number = fake.add_project()
    with MlBackend(Silent()) as before:  # type: ignore[arg-type]
        client.connect_ml_backend(number, before.url, TITLE)
    client.connect_ml_backend(number, backend.url, TITLE)
    assert asked(fake) == [(TITLE, backend.url, True)]


def test_the_model_of_somebody_else_is_neither_replaced_nor_joined(
    fake: FakeStudio, client: StudioClient, backend: MlBackend
) -> None:
    number = fake.add_project()
    client.connect_ml_backend(number, backend.url, "another")
    with pytest.raises(StateError, match=f"project {number} asks another model, 'another': remove it"):
        client.connect_ml_backend(number, backend.url, TITLE)
    assert asked(fake) == [("another", backend.url, True)]


def test_disconnecting_takes_away_only_what_is_at_this_address(
    fake: FakeStudio, client: StudioClient, backend: MlBackend
) -> None:
    number = fake.add_project()
    client.connect_ml_backend(number, backend.url, TITLE)
    client.disconnect_ml_backend(number, "http://127.0.0.1:9")
    assert asked(fake) == [(TITLE, backend.url, True)]
    client.disconnect_ml_backend(number, backend.url)
    client.disconnect_ml_backend(number, backend.url)
    assert asked(fake) == []


def test_a_server_that_cannot_reach_the_model_is_told_in_one_sentence(fake: FakeStudio, client: StudioClient) -> None:
    number = fake.add_project()
    with pytest.raises(ServerError, match=r"cannot reach http://127\.0\.0\.1:9: .* on this machine, outside of a con"):
        client.connect_ml_backend(number, "http://127.0.0.1:9", TITLE)


def test_a_server_that_forbids_models_on_its_machine_names_its_switch(
    fake: FakeStudio, client: StudioClient, backend: MlBackend
) -> None:
    number = fake.add_project()
    models(fake.records).local_models = False
    with pytest.raises(ServerError, match="start it with LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false"):
        client.connect_ml_backend(number, backend.url, TITLE)
    assert asked(fake) == []


def test_a_project_that_is_gone_is_named(client: StudioClient, backend: MlBackend) -> None:
    with pytest.raises(ServerError, match="is not there"):
        client.connect_ml_backend(77, backend.url, TITLE)
