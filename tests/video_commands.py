"""The label command on made videos: how it is called, and what it told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.store import Store

ROOT = Path(__file__).resolve().parents[1]


def command(tmp_path: Path, *inputs: str | Path, classes: str = "crimson: red box, sea: blue box") -> list[str]:
    weights = tmp_path / "weights"
    weights.write_text("drawn")
    return [
        "label", *map(str, inputs), "--project", str(tmp_path / "project"), "--classes", classes,
        "--detector", "snapped", "--weights", str(weights), "--json",
    ]  # fmt: skip


def label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *inputs: str | Path, code: int = 0, **choice: Any
) -> dict[str, Any]:
    capsys.readouterr()
    assert main(command(tmp_path, *inputs, **choice)) == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def open_store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "project" / "labels.db")
