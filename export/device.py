"""What a device is and how it stands: board, JetPack, CUDA, power mode, clocks, temperatures. Read, never set.

This file is copied into a bundle as it stands. It has not run on a Jetson: the paths are those that L4T documents.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path("/")

_JETPACKS = """
32.4.3=4.4 32.4.4=4.4.1 32.5=4.5 32.5.1=4.5.1 32.5.2=4.5.1 32.6.1=4.6
32.7.1=4.6.1 32.7.2=4.6.2 32.7.3=4.6.3 32.7.4=4.6.4 32.7.5=4.6.5 32.7.6=4.6.6
35.1=5.0.2 35.2.1=5.1 35.3.1=5.1.1 35.4.1=5.1.2 35.5=5.1.3 35.6=5.1.4 35.6.1=5.1.5 35.6.2=5.1.5
36.3=6.0 36.4=6.1 36.4.3=6.2 36.4.4=6.2.1 36.4.7=6.2.1
38.2=7.0 38.2.1=7.0 38.2.2=7.0
"""
"""JetPack of each release of L4T, trailing zeros dropped: no file on the device says it."""
_MAJORS = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}

_ARM_CORES = {
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}
"""Cores of the Jetsons by implementer and part: ARM kernels name none, or only the architecture."""

_GPU_CLOCK = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
"""How the devfreq folder of the GPU is named from L4T 32 to 38."""
_MAJOR_OF_SM, _MINOR_OF_SM = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
_SWITCHED_OFF = -100
"""Degrees below which a sensor only says that its part has no power."""


def facts(root: Path = _ROOT) -> dict[str, Any]:
    """Return what can be told of this device; None where nothing tells it.

    Keys: device (board), l4t, jetpack, cuda, gpu, sm ("8.7"), tensorrt, power_mode, clocks (cpu_mhz and gpu_mhz with
    current, min and max; locked: no core and no GPU may change its clock), temperatures_c by sensor, cpu, cores (that
    this process may use), load_1min, spent_s (since the start: uptime, busy summed over its cores, own of this
    process, and how many cores they are), memory_mb (total, available, swap), python, numpy, opencv, onnxruntime.

    Args:
        root: of the file system. The driver of the GPU is only asked where it is that of this machine.
    """
    l4t = _l4t(root)
    driver = _driver() if root == _ROOT else {}
    return {
        "device": _text(root / "proc/device-tree/model"),
        "l4t": l4t,
        "jetpack": _jetpack(l4t),
        "cuda": _cuda(root) or driver.get("cuda"),
        "gpu": driver.get("gpu"),
        "sm": driver.get("sm"),
        "tensorrt": _version("tensorrt") or _tensorrt(root),
        "power_mode": _power_mode(root),
        "clocks": _clocks(root),
        "temperatures_c": _temperatures(root),
        "cpu": cpu_name(root),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": _load(root),
        "spent_s": _spent(root),
        "memory_mb": _memory(root),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "opencv": _version("cv2"),
        "onnxruntime": _version("onnxruntime"),
    }


def cpu_name(root: Path = _ROOT) -> str:
    """Return the model of the processor; its architecture where it says no more."""
    lines = (_text(root / "proc/cpuinfo") or "").splitlines()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = _ARM_CORES.get((said.get("CPU implementer", ""), said.get("CPU part", "")))
    return known or said.get("model name") or platform.machine()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the facts as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    print(json.dumps(facts(), indent=2))
    return 0


def _text(path: Path) -> str | None:
    """Return what a file says; None where it is not there, cannot be read or is empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \n\0") or None
    except OSError:  # sensors without power answer with an error, too
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _version(module: str) -> str | None:
    try:
        return str(importlib.import_module(module).__version__)
    except (ImportError, OSError, AttributeError):  # OSError: its libraries are missing
        return None


def _l4t(root: Path) -> str | None:
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def _jetpack(l4t: str | None) -> str | None:
    """Return the JetPack of a release; of one that is not known only the major number."""
    if l4t is None:
        return None
    known = dict(row.split("=") for row in _JETPACKS.split())
    return known.get(re.sub(r"(\.0)+$", "", l4t)) or _MAJORS.get(l4t.partition(".")[0])


def _cuda(root: Path) -> str | None:
    """Return the version of the toolkit: version.json since CUDA 11.1, version.txt before."""
    found = re.search(
        r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([\d.]+)"', _text(root / "usr/local/cuda/version.json") or ""
    )
    found = found or re.search(r"CUDA Version ([\d.]+)", _text(root / "usr/local/cuda/version.txt") or "")
    return found[1] if found else None


def _driver() -> dict[str, str]:
    """Return what the CUDA driver says of the first GPU; nothing is opened on it."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        number, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
            return {}
        said = {}
        if not cuda.cuDriverGetVersion(ctypes.byref(number)):
            said["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
        if not cuda.cuDeviceGetName(name, len(name), device):
            said["gpu"] = name.value.decode(errors="replace")
        parts = []
        for attribute in (_MAJOR_OF_SM, _MINOR_OF_SM):
            if not cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
                parts.append(str(number.value))
    except (OSError, AttributeError):  # no driver, or one without these functions
        return {}
    if len(parts) == 2:
        said["sm"] = ".".join(parts)
    return said


def _tensorrt(root: Path) -> str | None:
    """Return the version in the name of the library: where only trtexec is installed no module tells it."""
    names = [path.name for path in root.glob("usr/lib/*-linux-gnu/libnvinfer.so.*.*.*")]
    return max((name.partition(".so.")[2] for name in names), key=_parts, default=None)


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _power_mode(root: Path) -> str | None:
    """Return what nvpmodel calls the mode."""
    program = shutil.which("nvpmodel", path=os.pathsep.join(str(root / folder) for folder in ("usr/sbin", "usr/bin")))
    if program is None:
        return None
    command = [program, "-q"]
    try:
        said = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, errors="replace", timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NV Power Mode: *(\S+)", said)
    return found[1] if found else None


def _clocks(root: Path) -> dict[str, Any]:
    cores = _all_clocks(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq", "scaling_{}_freq", 1e3)
    gpus = _all_clocks(root / "sys/class/devfreq", "*", "{}_freq", 1e6, _GPU_CLOCK)
    return {
        "cpu_mhz": _together(cores),
        "gpu_mhz": _together(gpus),
        "locked": all(clock["min"] == clock["max"] for clock in cores + gpus) if cores and gpus else None,
    }


def _all_clocks(
    where: Path, folders: str, name: str, per_mhz: float, wanted: re.Pattern[str] = re.compile("")
) -> list[dict[str, int]]:
    """Return current, min and max of every clock in MHz; those that do not tell all three are left out."""
    clocks = []
    for folder in sorted(where.glob(folders)):
        read = {key: _number(folder / name.format(key[:3])) for key in ("current", "min", "max")}
        clock = {key: round(value / per_mhz) for key, value in read.items() if value is not None}
        if len(clock) == len(read) and wanted.search(folder.name):
            clocks.append(clock)
    return clocks


def _together(clocks: Sequence[dict[str, int]]) -> dict[str, int] | None:
    """Return the mean of what they run at, and the bounds of all."""
    if not clocks:
        return None
    return {
        "current": round(sum(clock["current"] for clock in clocks) / len(clocks)),
        "min": min(clock["min"] for clock in clocks),
        "max": max(clock["max"] for clock in clocks),
    }


def _temperatures(root: Path) -> dict[str, float] | None:
    """Return the hottest reading of each sensor; those whose part is switched off are not among them."""
    hottest: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, millis = _text(zone / "type"), _number(zone / "temp")
        if name is not None and millis is not None and millis / 1000 > _SWITCHED_OFF:
            hottest[name] = max(millis / 1000, hottest.get(name, millis / 1000))
    return hottest or None


def _load(root: Path) -> float | None:
    found = re.match(r"\d+\.\d+", _text(root / "proc/loadavg") or "")
    return float(found[0]) if found else None


def _spent(root: Path) -> dict[str, float] | None:
    """Return seconds since the start of the device, and those that its cores and this process worked in them."""
    stat = _text(root / "proc/stat") or ""
    ticks = re.match(r"cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+)", stat)
    uptime = re.match(r"\d+\.\d+", _text(root / "proc/uptime") or "")
    if ticks is None or uptime is None:
        return None
    busy = sum(map(int, ticks.groups())) / os.sysconf("SC_CLK_TCK")
    cores = len(re.findall(r"^cpu\d", stat, flags=re.MULTILINE))
    return {"uptime": float(uptime[0]), "busy": busy, "own": time.process_time(), "cores": cores}


def _memory(root: Path) -> dict[str, int] | None:
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB", _text(root / "proc/meminfo") or "", flags=re.MULTILINE))
    keys = {"total": "MemTotal", "available": "MemAvailable", "swap": "SwapTotal"}
    return {key: int(sizes[kept]) // 1024 for key, kept in keys.items() if kept in sizes} or None


if __name__ == "__main__":
    raise SystemExit(main())
