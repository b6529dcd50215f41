"""Every way to make the round trip with Label Studio fail: what is done first, and what is typed then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.project import Project
from labeling.studio.folder import make_folders
from labeling.studio.secrets import TOKEN_VARIABLE, URL_VARIABLE, Secrets
from tests import fake_studio_faults as faults
from tests.error_cases import HELD, Case, both, config, file
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.pull_scene import region
from tests.pushing import World

Step = Callable[[Path], object]

_WORLDS: dict[Path, World] = {}


def variables(url: str = "", token: str = "") -> Step:
    """Let the environment name this server, or a part of it."""

    def step(_folder: Path) -> None:
        patch = HELD.enter_context(pytest.MonkeyPatch.context())
        for name, value in ((URL_VARIABLE, url), (TOKEN_VARIABLE, token)):
            patch.setenv(name, value) if value else patch.delenv(name, raising=False)

    return step


def served(*script: Fault, **settings: Any) -> Step:
    """Make a project of two labelled photos, and a server that the environment names."""

    def step(folder: Path) -> None:
        studio = HELD.enter_context(FakeStudio(script, **settings))
        _WORLDS[folder] = World(folder, studio, photos=2)
        variables(studio.url, studio.token)(folder)

    return step


def pushed(folder: Path) -> None:
    served()(folder)
    assert main(["push", "--project", str(folder / "project"), "--blind-share", "0"]) == 0


def there(act: Callable[[World], object]) -> Step:
    """Let somebody do something to what was pushed."""
    return both(pushed, lambda folder: act(_WORLDS[folder]))


def at(change: Callable[[str], str], token: str = "") -> Step:
    """Let the environment name another address than the server's."""

    def step(folder: Path) -> None:
        served()(folder)
        studio = _WORLDS[folder].studio
        variables(change(studio.url), token or studio.token)(folder)

    return step


def with_config(change: Callable[[str], str]) -> Step:
    def act(world: World) -> None:
        (project,) = world.studio.records.projects.values()
        changed = change(project["label_config"])
        assert changed != project["label_config"]
        project["label_config"] = changed

    return there(act)


def with_yaml(change: Callable[[str], str]) -> Step:
    def act(world: World) -> None:
        path = world.root / "project.yaml"
        path.write_text(change(path.read_text()))

    return there(act)


def access_token(folder: Path) -> None:
    served()(folder)
    studio = _WORLDS[folder].studio
    variables(studio.url, studio._jwt("access", 300.0))(folder)


def answered(name: str) -> Step:
    """Let a person give an answer with a label of this name."""
    return there(lambda world: world.studio.annotate(world.task(0)["id"], [region(name, (1, 2, 30, 40))]))


def secrets(mode: int, text: str = "{}") -> Step:
    def step(folder: Path) -> None:
        variables()(folder)
        config("name: p\nclasses: [a]\n")(folder)
        file("p/studio/secrets.json", text)(folder)
        (folder / "p/studio/secrets.json").chmod(mode)

    return step


def record(text: str) -> Step:
    def step(folder: Path) -> None:
        variables()(folder)
        config("name: p\nclasses: [a]\n")(folder)
        file("p/studio/server.json", text)(folder)
        (folder / "p/studio/server.json").chmod(0o600)

    return step


def stopped(folder: Path) -> None:
    """Make a project whose own server was started once, and does not run."""
    served()(folder)
    variables()(folder)
    project = Project.open(folder / "project")
    make_folders(project)
    Secrets.new().write(project)


PUSH, PULL = "push --project %/project", "pull --project %/project"
UNUSED = "http://127.0.0.1:1"
LEGACY = "0123456789abcdef0123456789abcdef01234567"

USAGE = [
    Case("studio: an action that is none", "studio start"),
    Case("studio: a port that is none", "studio up --port 99999 --project %/p"),
    Case("studio: no project", "studio status --project %/empty"),
    Case("studio: secrets that others may read", "studio up --project %/p", secrets(0o644)),
    Case("studio: secrets that are damaged", "studio up --project %/p", secrets(0o600)),
    Case("studio: its record is damaged", "studio status --project %/p", record("{")),
    Case("push: no project", "push --project %/empty"),
    Case("push: a share of the tasks that is none", f"{PUSH} --overlap ten", served()),
    Case("push: a share of the tasks out of range", f"{PUSH} --overlap 120", served()),
    Case("push: a limit of nothing", f"{PUSH} --limit 0", served()),
    Case("push: an audit share out of range", f"{PUSH} --audit-share 10", served()),
    Case("push: a blind share that is no number", f"{PUSH} --blind-share nan", served()),
    Case("push: only what has no kind", f"{PUSH} --only pallet", served()),
    Case("push: only an unknown kind", f"{PUSH} --only label:pallet", served()),
    Case("push: only an unknown class", f"{PUSH} --only class:palet", served()),
    Case("push: only an unknown state", f"{PUSH} --only state:done", served()),
    Case("push: only an unknown decision", f"{PUSH} --only decision:relabel", served()),
    Case("pull: a policy that is none", f"{PULL} --policy newest", there(lambda world: None)),
    Case("pull: a policy that names nobody", f"{PULL} --policy annotator:eve@x.org", there(lambda world: None)),
    Case("audit: no project", "audit --project %/empty"),
    Case("audit: a table that is none", "audit --project %/project --csv %/a.xlsx", served()),
    Case("agreement: a gate out of range", "agreement --project %/project --gate 70"),
    Case("agreement: a gate that is no number", "agreement --project %/project --gate nan"),
    Case("assist: a port that is none", "assist --port 99999"),
]
ORDER = [
    Case("push before any label", "push --project %/p", both(variables(), config("name: x\nclasses: [a]\n"))),
    Case("pull before any label", "pull --project %/p", both(variables(), config("name: x\nclasses: [a]\n"))),
    Case("agreement before any label", "agreement --project %/p", config("name: x\nclasses: [a]\n")),
    Case(
        "push before there are classes",
        PUSH,
        both(served(), lambda folder: (folder / "project/project.yaml").write_text("name: x\n")),
    ),
    Case("pull before a push", PULL, served()),
    Case("agreement before a push", "agreement --project %/project", served()),
    Case("agreement before an answer", "agreement --project %/project", there(lambda world: None)),
    Case("assist before a push", "assist --project %/project", served()),
]
SERVER = [
    Case("no Label Studio is known", PUSH, both(served(), variables())),
    Case("the project's own server does not run", PUSH, stopped),
    Case("a server without a token", PUSH, both(served(), variables(url=UNUSED))),
    Case("a token without a server", PULL, both(served(), variables(token=LEGACY))),
    Case("an address without http", PUSH, both(served(), variables("localhost:8080", LEGACY))),
    Case("an address with a login", PUSH, both(served(), variables("http://me:secret@127.0.0.1:1", LEGACY))),
    Case("an address of a page", PUSH, both(served(), variables("http://127.0.0.1:1/projects?page=1", LEGACY))),
    Case("nothing listens", PUSH, both(served(), variables(UNUSED, LEGACY))),
    Case("https where there is http", PUSH, at(lambda url: url.replace("http:", "https:"))),
    Case(
        "a sub-path that is missing",
        PUSH,
        both(
            served(prefix="/studio"),
            lambda folder: variables(_WORLDS[folder].studio.url.removesuffix("/studio"), _WORLDS[folder].studio.token)(
                folder
            ),
        ),
    ),
    Case("another web page", PUSH, served(faults.login_page("GET", "", 0), faults.login_page("POST", "", 0))),
    Case(
        "another server that knows JSON", PUSH, served(Fault("GET", "", 0, 200, "{}"), Fault("POST", "", 0, 200, "{}"))
    ),
    Case(
        "a server that sends on",
        PUSH,
        served(
            *(
                Fault(method, "", 0, 302, "", {"Location": "https://login.example.org/?next=/api"})
                for method in ("GET", "POST")
            )
        ),
    ),
    Case(
        "assist for a server elsewhere",
        "assist --project %/project",
        both(served(), variables("https://labels.example.org", LEGACY)),
    ),
]
TOKEN = [
    Case("a token that is none", PUSH, at(lambda url: url, "my token")),
    Case("an access token", PUSH, access_token),
    Case(
        "a token of another server",
        PUSH,
        at(lambda url: url, "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.x"),
    ),
    Case("a legacy token of another server", PUSH, at(lambda url: url, LEGACY[::-1])),
    Case("a legacy token where they are off", PUSH, served(tokens="legacy-off")),
    Case("a token that was revoked", PULL, there(lambda world: setattr(world.studio, "revoked", True))),
    Case("a token whose owner may do nothing", PUSH, served(faults.refused("POST", r"/projects/$", 403))),
]
THERE = [
    Case("the project there is gone", PUSH, there(lambda world: world.studio.records.projects.clear())),
    Case("the project there is gone, at a pull", PULL, there(lambda world: world.studio.records.projects.clear())),
    Case(
        "somebody else's project under its number",
        PUSH,
        there(lambda world: world.studio.records.change_project(1, {"description": "dogs and cats"})),
    ),
    Case("a control was renamed", PUSH, with_config(lambda xml: xml.replace('name="box"', 'name="boxes"'))),
    Case("a label was removed", PUSH, with_config(lambda xml: xml.replace('value="pallet"', 'value="palette"'))),
    Case(
        "the picture was removed", f"{PUSH} --update-config", with_config(lambda xml: xml.replace("$image", "$photo"))
    ),
    Case(
        "another control took a name",
        f"{PUSH} --update-config",
        with_config(lambda xml: xml.replace("RectangleLabels", "EllipseLabels")),
    ),
    Case("a class in use was removed, at a push", PUSH, with_yaml(lambda text: text.replace("- pallet\n", ""))),
    Case("a class in use was removed, at a pull", PULL, with_yaml(lambda text: text.replace("- pallet\n", ""))),
    Case("a label that no class knows", PULL, answered("lorry")),
    Case("too many requests", PUSH, served(faults.refused("POST", "/import", 429, 0, Retry_After="3600"))),
    Case("too large for the proxy", PUSH, served(faults.refused("POST", "/import", 413))),
    Case("the import is refused", PUSH, served(faults.refused("POST", "/import", 400))),
    Case(
        "the server fails",
        PULL,
        there(lambda world: world.studio.faults.append(faults.refused("GET", "/api/tasks", 500, 0))),
    ),
    Case("pictures cannot be seen", PUSH, served(faults.refused("GET", "/data/local-files", 404, 0))),
    Case("pictures are login pages", PUSH, served(faults.login_page("GET", "/data/local-files", 0))),
    Case(
        "pictures lie elsewhere",
        PUSH,
        served(Fault("GET", "/data/local-files", 0, 302, "", {"Location": "http://169.254.169.254/latest/meta-data"})),
    ),
]
STUDIO = [*USAGE, *ORDER, *SERVER, *TOKEN, *THERE]
