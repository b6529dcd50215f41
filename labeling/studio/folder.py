"""The folder studio/ of a project: what lies where in it, and all that Label Studio gets to see from us."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InputError
from ..project import Project

_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")


def secrets_path(project: Project) -> Path:
    """Return where address, login and token of the project's own server lie."""
    return project.studio_path / "secrets.json"


def record_path(project: Project) -> Path:
    """Return where the running process is written down."""
    return project.studio_path / "server.json"


def log_path(project: Project) -> Path:
    """Return where the server writes what it says."""
    return project.studio_path / "server.log"


def data_path(project: Project) -> Path:
    """Return the server's data folder."""
    return project.studio_path / "server"


def files_path(project: Project) -> Path:
    """Return the document root: the only folder whose files the server hands out."""
    return project.studio_path / "files"


def make_folders(project: Project) -> None:
    """Make studio/ with the folders that the server needs; git sees none of it. Raises InputError."""
    try:
        files_path(project).mkdir(parents=True, exist_ok=True)
        data_path(project).mkdir(mode=0o700, exist_ok=True)
        (project.studio_path / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be made: {error.strerror}: check the project folder") from error


def server_environment(project: Project) -> dict[str, str]:
    """Return the variables of the server but its secrets; none of the caller's own reaches it by accident.

    Label Studio reads plain names too, so that a HOST, PORT, DEBUG or PASSWORD of the shell would change it.
    """
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "HOME": str(data_path(project)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_path(project)),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files_path(project)),
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Else a page of another site could reach the server under a host name of its own.
        "LABEL_STUDIO_ALLOWED_HOSTS": "127.0.0.1,localhost",
        # Else the task page could not ask the project's teacher, which listens on this machine.
        "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    }
