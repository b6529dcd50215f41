"""A real Label Studio: what `labelstill studio up` leaves behind, who gets in, and which interruptions it survives."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from labeling.cli import main
from labeling.core.ontology import parse_classes
from labeling.project import Project
from labeling.studio.bootstrap import LoginRefused, ensure_token
from labeling.studio.folder import data_path, files_path, log_path, make_folders, record_path
from labeling.studio.processes import birth
from labeling.studio.secrets import Secrets, connection
from labeling.studio.server import Server, running, stop
from tests.studio_servers import CLASSES, StudioServer

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("_no_other_server_is_named")]

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


@pytest.fixture
def _no_other_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def browser(studio_server: StudioServer) -> Iterator[httpx.Client]:
    """Somebody who has not logged in."""
    with httpx.Client(base_url=studio_server.url, trust_env=False) as client:
        yield client


@pytest.fixture
def api(studio_server: StudioServer) -> Iterator[httpx.Client]:
    """The user of the token."""
    access = httpx.post(f"{studio_server.url}/api/token/refresh/", json={"refresh": studio_server.token}).json()[
        "access"
    ]
    headers = {"Authorization": f"Bearer {access}"}
    with httpx.Client(base_url=studio_server.url, headers=headers, trust_env=False) as client:
        yield client


def typed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["studio", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_up_again_says_the_same_at_once(studio_server: StudioServer, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    code, out, err = typed(capsys, "up", "--project", studio_server.project_root)
    assert time.monotonic() - began < 5
    assert (code, err) == (0, "")
    first, email, password, following = out.splitlines()
    assert first == f"Label Studio is already running at {studio_server.url}"
    assert (email.split(), password.split()) == (["email", studio_server.email], ["password", studio_server.password])
    assert following == f"next: labelstill push --project {studio_server.project_root}"
    facts = json.loads(typed(capsys, "up", "--json", "--project", studio_server.project_root)[1])
    assert (facts["state"], facts["url"], facts["pid"]) == ("already running", studio_server.url, studio_server.pid)


def test_up_says_that_the_environment_names_another_server(
    studio_server: StudioServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://team.example.org")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "their-token")
    code, out, err = typed(capsys, "up", "--project", studio_server.project_root)
    assert code == 0
    assert err == "LABEL_STUDIO_URL is set: push and pull go to https://team.example.org, not to this server\n"
    assert "their-token" not in out


def test_status_says_what_runs_and_no_secret(studio_server: StudioServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _err = typed(capsys, "status", "--json", "--project", studio_server.project_root)
    facts = json.loads(out)
    assert code == 0
    assert (facts["state"], facts["version"], facts["email"]) == ("running", "1.23.2", studio_server.email)
    assert (facts["url"], facts["pid"]) == (studio_server.url, studio_server.pid)
    assert 0 <= facts["uptime_s"] < 86_400
    text = typed(capsys, "status", "--project", studio_server.project_root)[1]
    assert text.startswith(f"Label Studio 1.23.2: running at {studio_server.url}\n")
    project = Project.open(studio_server.project_root)
    secrets = Secrets.read(project)
    assert secrets is not None
    everywhere = out + text + log_path(project).read_text() + record_path(project).read_text()
    everywhere += Path(f"/proc/{studio_server.pid}/cmdline").read_text()
    for secret in (secrets.token, secrets.password, secrets.secret_key):
        assert secret not in everywhere


def test_the_token_is_a_personal_access_token_that_works(studio_server: StudioServer, api: httpx.Client) -> None:
    assert api.get("/api/current-user/whoami").json()["email"] == studio_server.email
    found = connection(Project.open(studio_server.project_root))
    assert (found.url, found.token, found.local) == (studio_server.url, studio_server.token, True)


def test_only_this_machine_can_reach_it_and_only_under_its_own_name(
    studio_server: StudioServer, browser: httpx.Client
) -> None:
    port = urlsplit(studio_server.url).port
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            if state == "0A" and int(place.split(":")[1], 16) == port:
                listening.append(place.split(":")[0])
    assert listening == ["0100007F"]
    assert browser.get("/health", headers={"Host": "rebound.example.org"}).status_code == 400


def test_nobody_signs_up(studio_server: StudioServer, browser: httpx.Client, api: httpx.Client) -> None:
    before = [user["email"] for user in api.get("/api/users/").json()]
    stranger = {"email": "stranger@example.org", "password": "a-Long-pass-1"}
    for path in ("/user/signup/", "/user/signup/?token=", "/user/signup/?token=guessed"):
        page = browser.get(path)
        assert page.status_code in (200, 403)
        form = {**stranger, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = browser.post(path, data=form, headers={"Referer": f"{studio_server.url}/user/signup/"})
        assert answer.status_code == 403
    assert [user["email"] for user in api.get("/api/users/").json()] == before
    assert studio_server.email in before
    assert stranger["email"] not in before
    with pytest.raises(LoginRefused, match=r"refuses the login stranger@example\.org"):
        ensure_token(studio_server.url, Secrets(secret_key="-", **stranger))


def test_the_document_root_holds_the_images_and_nothing_else_is_handed_out(
    studio_server: StudioServer, api: httpx.Client, browser: httpx.Client
) -> None:
    images = studio_server.files_root / "images" / "of-the-server-test"
    images.mkdir(parents=True, exist_ok=True)
    (images / "a.png").write_bytes(PNG)
    (studio_server.files_root / "beside.png").write_bytes(PNG)
    config = '<View><Image name="image" value="$image"/></View>'
    made = api.post("/api/projects/", json={"title": "server: files", "label_config": config}).json()["id"]
    try:
        storage = {"project": made, "path": str(images), "use_blob_urls": True, "title": "images"}
        assert api.post("/api/storages/localfiles", json=storage).status_code == 201
        outside = {**storage, "path": str(studio_server.project_root)}
        assert api.post("/api/storages/localfiles", json=outside).status_code == 400
        inside = "/data/local-files/?d=images/of-the-server-test/"
        answer = api.get(f"{inside}a.png")
        assert (answer.status_code, answer.content) == (200, PNG)
        assert browser.get(f"{inside}a.png").status_code in (302, 401, 403)
        others = [
            "/data/local-files/?d=beside.png",
            "/data/local-files/?d=../secrets.json",
            f"{inside}../../../secrets.json",
            f"{inside}%2e%2e/%2e%2e/%2e%2e/secrets.json",
            f"{inside}../../../server/label_studio.sqlite3",
            "/data/local-files/?d=/etc/passwd",
            "/data/local-files/?d=server/label_studio.sqlite3",
        ]
        answers = [api.get(path) for path in others]
        assert all(answer.status_code in (403, 404, 500) for answer in answers), answers
        assert not any(b"secret_key" in answer.content or b"root:" in answer.content for answer in answers)
    finally:
        api.delete(f"/api/projects/{made}/")


def test_nothing_is_reported_to_others(browser: httpx.Client) -> None:
    page = browser.get("/user/login/").text
    assert "collect_analytics = false" in page
    assert "sentry.io" not in page


def test_every_interruption_is_survived(
    studio_server: StudioServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two starts at once, lost secrets, a lost token, kill -9 of either side, a taken port, a moved folder."""
    project = Project.create(tmp_path / "project", parse_classes(CLASSES))
    make_folders(project)
    # A copy of a database that exists saves the half minute of a first start; its password is not the one of here.
    with (
        closing(
            sqlite3.connect(data_path(Project.open(studio_server.project_root)) / "label_studio.sqlite3")
        ) as theirs,
        closing(sqlite3.connect(data_path(project) / "label_studio.sqlite3")) as ours,
    ):
        theirs.backup(ours)
    try:
        both = [json.loads(child.communicate(timeout=120)[0]) for child in [_up(project), _up(project)]]
        assert sorted(facts["state"] for facts in both) == ["already running", "started"]
        assert both[0]["pid"] == both[1]["pid"] != studio_server.pid
        first = _working(project)

        first.model_copy(update={"token": ""}).write(project)
        assert _facts(capsys, "up", project)["pid"] == both[0]["pid"]
        second = _working(project)
        assert second.token != first.token
        assert not _token_works(second.url, first.token), "there is one token at a time"

        os.kill(both[0]["pid"], signal.SIGKILL)
        _until_gone(both[0]["pid"])
        assert _facts(capsys, "status", project)["state"] == "not running"
        taken = socket.create_server(("127.0.0.1", int(urlsplit(second.url).port or 0)))
        child = _up(project)
        _wait_for_record(project, after=both[0]["pid"])
        child.kill()
        child.wait()
        joined = _facts(capsys, "up", project)
        taken.close()
        assert joined["url"] != second.url
        assert _working(project).token == second.token

        moved = Project.open(project.root.rename(tmp_path / "moved"))
        project = moved
        assert _facts(capsys, "status", moved)["state"] == "not running"
        anew = _facts(capsys, "up", moved)
        assert birth(joined["pid"]) is None
        assert (anew["state"], anew["url"]) == ("started", joined["url"])
        environment = Path(f"/proc/{anew['pid']}/environ").read_text()
        assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={files_path(moved)}\0" in environment
        assert _working(moved).token == second.token

        code, out, _err = typed(capsys, "down", "--project", moved.root)
        assert code == 0
        assert out.startswith(f"Label Studio at {anew['url']} has ended (process {anew['pid']})")
        assert birth(anew["pid"]) is None
        assert birth(studio_server.pid) is not None
        assert typed(capsys, "down", "--project", moved.root) == (0, "Label Studio is not running\n", "")
    finally:
        if left := running(project):
            stop(left, project)


def _up(project: Project) -> subprocess.Popen[str]:
    code = "import sys; from labeling.cli import main; sys.exit(main())"
    words = ["studio", "up", "--json", "--project", str(project.root)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _facts(capsys: pytest.CaptureFixture[str], action: str, project: Project) -> dict[str, object]:
    code, out, err = typed(capsys, action, "--json", "--project", project.root)
    assert code == 0, err
    facts: dict[str, object] = json.loads(out)
    return facts


def _working(project: Project) -> Secrets:
    """Return the secrets of a project, whose token works."""
    secrets = Secrets.read(project)
    assert secrets is not None
    assert _token_works(secrets.url, secrets.token)
    return secrets


def _token_works(url: str, token: str) -> bool:
    return httpx.post(f"{url}/api/token/refresh/", json={"refresh": token}, trust_env=False).status_code == 200


def _wait_for_record(project: Project, after: int) -> Server:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        server = running(project)
        if server is not None and server.pid != after:
            return server
        time.sleep(0.02)
    raise AssertionError("no server was started")


def _until_gone(pid: int) -> None:
    limit = time.monotonic() + 20
    while birth(pid) is not None:
        assert time.monotonic() < limit
        time.sleep(0.02)
