"""`labelstill assist`: Label Studio gets labels and masks on demand while it runs, and nothing is left when it ends."""

from __future__ import annotations

import io
import json
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labeling.cli import main
from labeling.core.store_studio import StudioLedger
from labeling.demo.scenes import all_pairs, render_scene
from labeling.project import Project
from labeling.queue import lot
from labeling.studio import convert
from labeling.studio.client import StudioClient
from labeling.studio.shapes import Shape
from tests.assisting import assisting, labelled
from tests.fake_studio import FakeStudio
from tests.fake_studio_ml import ask, models
from tests.studio_servers import StudioServer

pytestmark = pytest.mark.torch

ANYTHING = Shape("anything", lambda value: True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return labelled(tmp_path_factory.mktemp("assisted"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStudio]:
    with FakeStudio() as studio:
        here(monkeypatch, studio.url, studio.token)
        yield studio


def here(monkeypatch: pytest.MonkeyPatch, url: str, token: str) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*arguments, "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, answer


def push(project: Project, capsys: pytest.CaptureFixture[str], blind_share: str) -> None:
    code, answer = said(capsys, "push", "--project", str(project.root), "--upload", "--blind-share", blind_share)
    assert (code, answer["new"]) == (0, 3), answer


def drawn(box: Sequence[float]) -> list[dict[str, Any]]:
    """Return a box in pixels as the smart tool sends it."""
    x0, y0, x1, y1 = (100 * edge / side for edge, side in zip(box, (640, 480, 640, 480), strict=True))
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": ["pallet"]}
    size = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    return [{"id": "r1", "type": "rectanglelabels", "from_name": "box", "to_name": "image", **size, "value": value}]


def test_it_serves_connects_answers_and_leaves_nothing_behind(
    project: Project, fake: FakeStudio, capsys: pytest.CaptureFixture[str]
) -> None:
    push(project, capsys, "0")
    with assisting(project, fake.url, fake.token) as verb:
        (row,) = models(fake.records).backends.values()
        assert verb.facts == {
            "teacher": "bundled/bundled + bundled/bundled",
            "studio": fake.url,
            "project": row["project"],
            "url": row["url"],
        }
        # By any other name people would be shown nothing where the verb was killed.
        assert row["title"] != "labelstill"
        task = fake.tasks()[0]
        (made,) = ask(f"{row['url']}/predict", {"tasks": [task], "params": {"context": None}})["results"]
        (pushed,) = task["predictions"]
        assert [one["id"] for one in made["result"]] == [one["id"] for one in pushed["result"]]
        assert verb.end(signal.SIGINT) == 0
    assert verb.errors == "the teacher is no longer served\n"
    assert models(fake.records).backends == models(fake.records).webhooks == {}
    assert fake.token not in verb.errors + json.dumps(verb.facts)


def test_it_says_what_is_missing(
    tmp_path: Path, project: Project, fake: FakeStudio, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    assist = ("assist", "--project", str(project.root))
    code, answer = said(capsys, *assist)
    assert (code, "nothing was pushed to" in answer["error"]) == (1, True)
    push(project, capsys, "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        code, answer = said(capsys, *assist, "--port", port)
    assert code == 1
    assert answer["error"] == f"--port {port}: cannot be used: Address already in use; name another, or 0 for any"
    here(monkeypatch, "https://labels.example.org", "0" * 40)
    code, answer = said(capsys, *assist)
    assert (code, "the teacher is served on this machine only" in answer["error"]) == (1, True)


@pytest.mark.server
def test_label_studio_gets_labels_and_masks_on_demand(
    tmp_path: Path,
    project: Project,
    studio_server: StudioServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here(monkeypatch, studio_server.url, studio_server.token)
    with project.open_store() as store:
        first, second, _ = sorted(lot(sha256, "blind") for sha256 in store.states())
    push(project, capsys, str((first + second) / 2))
    with (
        StudioClient(studio_server.url, studio_server.token) as client,
        assisting(project, studio_server.url, studio_server.token) as verb,
    ):
        number = verb.facts["project"]

        def call(method: str, path: str, body: Any = None, **params: Any) -> Any:
            return client._wire.json(method, path, ANYTHING, body=body, params=params or None)

        (model,) = call("GET", "/api/ml/", project=number)
        assert (model["state"], model["is_interactive"], model["url"]) == ("CO", True, verb.facts["url"])
        assert model["model_version"] == "labelstill"
        assert call("GET", "/api/webhooks/", project=number) == []
        settings = client.project(number)
        assert settings is not None
        assert settings["model_version"] == "labelstill"
        assert not settings["evaluate_predictions_automatically"]

        before = {task["id"]: task for task in client.tasks(number, full=True)}
        with project.open_store() as store:
            target = [one for one in StudioLedger(store).targets() if one.url == studio_server.url][-1]
            blind = [task.task_id for task in StudioLedger(store).tasks(target) if task.blind]
        assert len(blind) == 1
        # An image that somebody adds by hand, turned as a camera leaves it.
        scene = render_scene(7_000_001, size_wh=(640, 480), pairs=all_pairs(unseen=True))
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.open(io.BytesIO(scene.jpeg)).transpose(Image.Transpose.ROTATE_90)
        picture.save(file, "JPEG", quality=97, exif=exif)
        (address,) = client.upload_images(number, [("mine.jpg", file.getvalue())])
        by_hand, elsewhere = client.import_tasks(
            number, [{"data": {"image": address}}, {"data": {"image": "http://169.254.169.254/latest/a.png"}}]
        )
        call("POST", "/api/dm/actions", {"selectedItems": {"all": True, "excluded": []}},
             id="retrieve_tasks_predictions", project=number)  # fmt: skip
        after = {task["id"]: task["predictions"] for task in client.tasks(number, full=True)}
        (made,) = after[by_hand]
        assert made["model_version"] == "labelstill"
        assert len(made["result"]) >= 1
        assert {(one["original_width"], one["original_height"]) for one in made["result"]} == {(640, 480)}
        assert after[elsewhere] == after[blind[0]] == []
        for name, task in before.items():
            assert [one["id"] for one in after[name]] == [one["id"] for one in task["predictions"]]

        # People who open a task make Label Studio ask; a blind one stays without help.
        assert call("GET", f"/api/tasks/{blind[0]}/")["predictions"] == []
        (again,) = client.import_tasks(number, [{"data": {"image": address}}])
        assert len(call("GET", f"/api/tasks/{again}/")["predictions"]) == 1

        asked = f"/api/ml/{model['id']}/interactive-annotating"
        helped = min(name for name, task in before.items() if task["predictions"] and task["predictions"][0]["result"])
        for name in (helped, by_hand):
            (found, *_), _ = convert.read(after[name][0]["result"], (640, 480))
            answer = call("POST", asked, {"task": name, "context": {"result": drawn(found.box_xyxy)}})
            (region,) = answer["data"]["result"]
            assert region["type"] in ("polygonlabels", "brushlabels")
            assert region["value"][region["type"]] == ["pallet"]
        refused = call("POST", asked, {"task": blind[0], "context": {"result": drawn((9, 9, 99, 99))}})
        assert "labelled without help" in refused["errors"][0]
        refused = call("POST", asked, {"task": elsewhere, "context": {"result": drawn((9, 9, 99, 99))}})
        assert "expected a picture that" in refused["errors"][0]
        assert verb.end(signal.SIGTERM) == 0
        assert call("GET", "/api/ml/", project=number) == []
        now = client.project(number)
        assert now is not None
        assert now["model_version"] == "labelstill"
    lines = verb.errors.splitlines()
    assert lines[-1] == "the teacher is no longer served"
    assert all(line.startswith(("task ", "the teacher")) for line in lines)
    assert studio_server.token not in verb.errors
