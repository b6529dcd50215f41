"""Environments of their own for libraries that cannot share this one: made by a command, found, described."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BackendError, InputError

_SOURCE = Path(__file__).resolve().parents[2]
_STAMP = "labelstill-environment.json"
_LAST_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Recipe:
    packages: tuple[str, ...]
    constraints: Path
    variable: str
    beside: Path


_RECIPES: Mapping[str, _Recipe] = {
    "groundingdino-py": _Recipe(
        packages=("groundingdino-py", "transformers", "supervision"),
        constraints=_SOURCE / "constraints-groundingdino.txt",
        variable="LABELSTILL_GROUNDINGDINO",
        beside=_SOURCE / ".venv-groundingdino",
    )
}


def install(name: str, folder: Path | None = None) -> Path:
    """Make the environment unless it is whole already; return its interpreter.

    It borrows what this environment has (torch, numpy) and puts its own versions of the rest first. Nothing outside
    the folder is changed. One that this function left half made, or made for other versions, is made anew; any other
    environment is left alone.

    Args:
        name: of the environment, e.g. "groundingdino-py".
        folder: where; None for the place where it is looked for.

    Raises:
        InputError: no such environment, or the folder holds something else.
        BackendError: it could not be made; the message has pip's last words.
    """
    recipe = _recipe(name)
    folder = (folder or _default_folder(name, recipe)).expanduser().absolute()
    if not recipe.constraints.is_file():
        raise BackendError(f"{recipe.constraints.name} is not beside the package: install {name} from a source tree")
    if _is_whole(folder, name, recipe):
        return _python(folder)
    _clear(folder, name)
    _run([sys.executable, "-m", "venv", str(folder)], name)
    (_site(folder) / "borrowed.pth").write_text("\n".join(_borrowed()) + "\n", encoding="utf-8")
    pip = [str(_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(recipe.constraints), *recipe.packages], name)
    (folder / _STAMP).write_text(json.dumps(_stamp(name, recipe)), encoding="utf-8")
    return _python(folder)


def find(name: str) -> Path | None:
    """Return the interpreter of the environment; None where it is absent, half made or made for other versions."""
    recipe = _recipe(name)
    folder = _default_folder(name, recipe)
    return _python(folder) if _is_whole(folder, name, recipe) else None


def place(name: str) -> Path:
    """Return the folder where the environment is looked for."""
    return _default_folder(name, _recipe(name))


def variable(name: str) -> str:
    """Return the name of the variable that says where the environment lies."""
    return _recipe(name).variable


def facts(name: str) -> dict[str, str]:
    """Return folder and versions of the packages of the environment, starting nothing; empty where it is absent."""
    python = find(name)
    if python is None:
        return {}
    folder = python.parent.parent
    found = {dist.name: dist.version for dist in importlib.metadata.distributions(path=[str(_site(folder))])}
    return {"folder": str(folder), **{package: found.get(package, "missing") for package in _recipe(name).packages}}


def pins(name: str) -> dict[str, str]:
    """Return the version of each package that the environment was tested with."""
    lines = _recipe(name).constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {package.strip(): version.strip() for package, _, version in pairs if version}


def _recipe(name: str) -> _Recipe:
    if name not in _RECIPES:
        raise InputError(f"no environment is called {name!r}: expected {' or '.join(_RECIPES)}")
    return _RECIPES[name]


def _default_folder(name: str, recipe: _Recipe) -> Path:
    if given := os.environ.get(recipe.variable):
        return Path(given).expanduser().absolute()
    if recipe.beside.is_dir():
        return recipe.beside
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return home / "labelstill" / name


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _site(folder: Path) -> Path:
    paths = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    return Path(paths["purelib"])


def _borrowed() -> list[str]:
    """Return the folders that hold this environment's packages."""
    return list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))


def _stamp(name: str, recipe: _Recipe) -> dict[str, object]:
    digest = hashlib.sha256(recipe.constraints.read_bytes()).hexdigest()
    return {"name": name, "constraints": digest, "python": platform.python_version(), "borrowed": _borrowed()}


def _is_whole(folder: Path, name: str, recipe: _Recipe) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        return bool(stamp == _stamp(name, recipe)) and os.access(_python(folder), os.X_OK)
    except (OSError, ValueError):
        return False


def _clear(folder: Path, name: str) -> None:
    """Leave the folder empty but for a mark that it is ours; raises InputError where it holds what is not."""
    try:
        found = list(folder.iterdir()) if folder.exists() else []
        if found and folder / _STAMP not in found:
            raise InputError(f"{folder} is not empty and no environment of {name}: name an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _STAMP).write_text("{}", encoding="utf-8")
        for entry in found:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _STAMP:
                entry.unlink()
    except OSError as error:
        raise InputError(
            f"{folder}: no environment can be made there: {error.strerror}: name another folder"
        ) from error


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise BackendError(
            f"the environment of {name} could not be made: {command[2]} ended with {done.returncode}: "
            f"{' | '.join(said[-_LAST_WORDS:])[-500:]}"
        )
