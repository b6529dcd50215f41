"""Worker processes of a few lines that stand in for the package of another environment."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from labeling.teachers import worker_environment
from labeling.teachers.worker import protocol


def program(folder: Path, body: str) -> Path:
    """Return a worker that greets and then runs ``body`` with read, write and receive at hand."""
    file = folder / "program.py"
    file.write_text(
        f"import os, sys, time\nsys.path.append({str(Path(protocol.__file__).parent)!r})\n"
        "from protocol import encode, receive\n"
        "def write(*frame):\n    sys.stdout.buffer.writelines(encode(*frame)); sys.stdout.buffer.flush()\n"
        "read = sys.stdin.buffer.read\n" + textwrap.dedent(body)
    )
    return file


GREETING = 'write({"protocol": 1, "versions": {}})\n'


def environment(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Make an environment whose interpreter runs a worker of our own; return the interpreter."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program(folder, body)}"\n')
    python.chmod(0o755)
    stamp = worker_environment._stamp("groundingdino-py", worker_environment._RECIPES["groundingdino-py"])
    (folder / "labelstill-environment.json").write_text(json.dumps(stamp))
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(folder))
    return python
