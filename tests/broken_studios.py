"""What can be wrong with a Label Studio, how it is put right again, and the command line that meets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from labeling.cli import main
from labeling.studio.secrets import TOKEN_VARIABLE, URL_VARIABLE
from tests import fake_studio_faults as faults
from tests.fake_studio_faults import Fault
from tests.pushing import World

LEGACY = "89abcdef0123456789abcdef0123456789abcdef"
METADATA = "http://169.254.169.254/latest/meta-data"
GET, POST = "GET", "POST"


class Terminal:
    """The command line in one project, as a person uses it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.world, self.studio = world, world.studio
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.name_server()

    def name_server(self, url: str | None = None, token: str | None = None) -> None:
        self._monkeypatch.setenv(URL_VARIABLE, self.studio.url if url is None else url)
        self._monkeypatch.setenv(TOKEN_VARIABLE, self.studio.token if token is None else token)

    def type(self, verb: str, *flags: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = main([verb, "--project", str(self.world.root), *flags])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def typed(self, *words: str) -> list[str]:
        """Return what is said to all of these words, whatever comes of it."""
        self._capsys.readouterr()
        main(words)
        return list(self._capsys.readouterr())

    def done(self, verb: str, *flags: str) -> str:
        """Type what has to succeed."""
        code, out, err = self.type(verb, *flags)
        assert (code, err) == (0, "")
        return out

    def refused(self, verb: str, *flags: str) -> str:
        """Type what has to fail; return its one sentence."""
        code, out, err = self.type(verb, *flags)
        assert (code, out) == (1, ""), err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert "defect" not in err, err
        return err

    def assert_once(self, photos: int = 3) -> None:
        """Every photo has one task, and no import was carried out for nothing."""
        count = self.world.per_photo()
        assert count == {self.world.sha256(number): 1 for number in range(photos)}


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that is wrong, a word of what is said about it, and how it is put right.

    Attributes:
        makes: what goes wrong.
        says: part of the sentence.
        mends: puts it right, and returns the flags that the advice names.
        posts: how many imports may reach the server before it is put right.
    """

    makes: Callable[[Terminal], object]
    says: str
    mends: Callable[[Terminal], object] = lambda terminal: terminal.name_server()
    flags: tuple[str, ...] = ()
    posts: int = 0


def script(*wrong: Fault) -> Callable[[Terminal], object]:
    def make(terminal: Terminal) -> None:
        for fault in wrong:
            fault.seen = 0
        terminal.studio.faults[:] = wrong

    return make


def no_faults(terminal: Terminal) -> None:
    terminal.studio.faults.clear()


def named(change: Callable[[str], str] = str, token: str | None = None) -> Callable[[Terminal], object]:
    return lambda terminal: terminal.name_server(change(terminal.studio.url), token)


def field(**fields: object) -> Callable[[Terminal], object]:
    """Change the newest project on the server."""

    def act(terminal: Terminal) -> None:
        (*_, row) = terminal.studio.records.projects.values()
        row.update(fields)

    return act


def config(change: Callable[[str], str]) -> Callable[[Terminal], object]:
    def act(terminal: Terminal) -> None:
        (*_, row) = terminal.studio.records.projects.values()
        changed = change(row["label_config"])
        assert changed != row["label_config"]
        row["label_config"] = changed

    return act


def put_mark_back(terminal: Terminal) -> None:
    with terminal.world.store() as store:
        field(description=f"labelstill {store.recall('studio identity')}")(terminal)


def classes(change: Callable[[str], str]) -> Callable[[Terminal], object]:
    def act(terminal: Terminal) -> None:
        path = terminal.world.root / "project.yaml"
        path.write_text(change(path.read_text()), encoding="utf-8")

    return act


def revoked(yes: bool) -> Callable[[Terminal], object]:
    return lambda terminal: setattr(terminal.studio, "revoked", yes)


def access_token(terminal: Terminal) -> None:
    terminal.name_server(token=terminal.studio._jwt("access", 300))


SERVERS = {
    "it is down": Broken(lambda t: t.studio.down(), "nothing listens there", lambda t: t.studio.revive()),
    "https": Broken(named(lambda url: url.replace("http:", "https:")), "a server without TLS has http://"),
    "no scheme": Broken(named(lambda url: url.removeprefix("http://")), "LABEL_STUDIO_URL is no address"),
    "a login in the address": Broken(
        named(lambda url: url.replace("://", "://me:word@")), "LABEL_STUDIO_URL holds a login"
    ),
    "the address of a page": Broken(named(lambda url: f"{url}/projects?page=1"), "without ? and #"),
    "another web page": Broken(
        script(*(faults.login_page(method, "", 0) for method in (GET, POST))), "got a web page (200)", no_faults
    ),
    "a page that is not there": Broken(
        script(*(Fault(method, "", 0, 404, "<html>404</html>") for method in (GET, POST))),
        "correct LABEL_STUDIO_URL, which may lack a sub-path",
        no_faults,
    ),
    "another program": Broken(
        script(*(Fault(method, "", 0, 200, "{}") for method in (GET, POST))), "address of a Label Studio", no_faults
    ),
    "it sends on": Broken(
        script(*(Fault(method, "", 0, 302, "", {"Location": "https://away.example/"}) for method in (GET, POST))),
        "sends on to https://away.example: set LABEL_STUDIO_URL",
        no_faults,
    ),
    "no token": Broken(named(token=""), f"{TOKEN_VARIABLE} is not"),
    "no address": Broken(named(lambda url: ""), f"{URL_VARIABLE} is not"),
    "garbage for a token": Broken(named(token="hunter2"), "create a personal access token under Account & Settings"),
    "an access token": Broken(access_token, "is an access token, which lives for minutes"),
    "a legacy token of another server": Broken(named(token=LEGACY), "does not know this legacy token"),
    "a token that was revoked": Broken(revoked(True), "is revoked, expired or of another server", revoked(False)),
    "asked to wait for an hour": Broken(
        script(faults.refused(GET, "/api/projects", 429, 0, Retry_After="3600")), "try again in 3600 s", no_faults
    ),
}
PROJECTS = {
    "the project is gone": Broken(
        lambda t: t.studio.records.projects.clear(), "--new-project", lambda t: None, ("--new-project",)
    ),
    "its number is somebody else's": Broken(
        field(description="cats and dogs"), "expected the line 'labelstill ", put_mark_back
    ),
    "a control was renamed": Broken(
        config(lambda xml: xml.replace('name="box"', 'name="boxes"')),
        "needs the control 'box'",
        lambda t: None,
        ("--update-config",),
    ),
    "a label was renamed": Broken(
        config(lambda xml: xml.replace('value="pallet"', 'value="skid"')),
        "needs the label 'pallet'",
        lambda t: None,
        ("--update-config",),
    ),
    "a class in use is gone": Broken(
        classes(lambda text: text.replace("- pallet\n", "")),
        "expected class 'pallet' at place 2",
        classes(lambda text: text.replace("- box\n", "- box\n  - pallet\n")),
    ),
    "the configuration is no XML": Broken(
        field(label_config="<View>"),
        "labelling configuration",
        config(lambda xml: '<View><Image name="image" value="$image"/></View>'),
        ("--update-config",),
    ),
}
IMPORTS = {
    "refused": Broken(script(faults.refused(POST, "/import", 400)), "refused by the script", no_faults, posts=1),
    "too large": Broken(
        script(faults.refused(POST, "/import", 413)), "raise the limit of the proxy", no_faults, posts=1
    ),
    "an hour": Broken(
        script(faults.refused(POST, "/import", 429, 0, Retry_After="3600")), "3600 s", no_faults, posts=1
    ),
    "pictures that are not there": Broken(
        script(faults.refused(GET, "/data/local-files", 404, 0)), "people could not see the pictures", no_faults
    ),
    "pictures behind a login": Broken(
        script(faults.login_page(GET, "/data/local-files", 0)), "people could not see the pictures", no_faults
    ),
    "pictures at a place that is secret": Broken(
        script(Fault(GET, "/data/local-files", 0, 302, "", {"Location": METADATA})), "not of another server", no_faults
    ),
    "nobody may make a project": Broken(
        script(faults.refused(POST, "/api/projects/$", 403)), "use another token", no_faults
    ),
}
