"""What a device says of itself: trees of files as Jetsons have them, written by hand, and this machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.device import cpu_name, facts

ROOT = Path(__file__).resolve().parents[1]

ARM = "processor\t: 0\nBogoMIPS\t: 62.50\nCPU implementer\t: {}\nCPU architecture: 8\nCPU part\t: {}\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def nvpmodel(root: Path, said: str, status: int = 0) -> None:
    """Put a program that answers as nvpmodel does into a tree."""
    path = root / "usr/sbin/nvpmodel"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n[ \"$*\" = -q ] || exit 9\ncat <<'END'\n{said}\nEND\nexit {status}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def cpufreq(cores: int, current: int, low: int, high: int) -> dict[str, str]:
    return {
        f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_{name}_freq": f"{value}\n"
        for core in range(cores)
        for name, value in (("cur", current), ("min", low), ("max", high))
    }


def devfreq(name: str, current: int, low: int, high: int) -> dict[str, str]:
    where = f"sys/class/devfreq/{name}"
    return {f"{where}/cur_freq": f"{current}", f"{where}/min_freq": f"{low}", f"{where}/max_freq": f"{high}"}


@pytest.fixture
def orin_nano(tmp_path: Path) -> Path:
    root = tree(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
            "usr/local/cuda/version.json": json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}),
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.10": "",
            "proc/cpuinfo": ARM.format("0x41", "0xd42"),
            "proc/loadavg": "0.52 0.40 0.31 1/512 4242\n",
            "proc/stat": "cpu  100 20 30 4000 500 6 7 0 0 0\ncpu0 50 10 15 2000\ncpu1 50 10 15 2000\nintr 9 0\n",
            "proc/uptime": "64099.55 39381.92\n",
            "proc/meminfo": "MemTotal:        7802880 kB\nMemAvailable:    5242880 kB\nSwapTotal:       3901440 kB\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48843\n",
            "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "-256000\n",
            "sys/class/thermal/thermal_zone2/type": "tj-thermal\n",
            "sys/class/thermal/thermal_zone2/temp": "49500\n",
            **cpufreq(6, 1728000, 1728000, 1728000),
            **devfreq("17000000.gpu", 1020000000, 1020000000, 1020000000),
            **devfreq("15340000.vic", 115200000, 115200000, 729600000),
        },
    )
    nvpmodel(root, "NV Power Mode: MAXN_SUPER\n2")
    return root


def test_an_orin_nano_says_what_it_is_and_how_it_stands(orin_nano: Path) -> None:
    told = facts(orin_nano)
    assert told["device"] == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (told["l4t"], told["jetpack"], told["cuda"], told["tensorrt"]) == ("36.4.3", "6.2", "12.6.11", "10.3.0")
    assert told["power_mode"] == "MAXN_SUPER"
    assert told["clocks"] == {
        "cpu_mhz": {"current": 1728, "min": 1728, "max": 1728},
        "gpu_mhz": {"current": 1020, "min": 1020, "max": 1020},
        "locked": True,
    }
    # The GPU has no power, so its sensor knows nothing.
    assert told["temperatures_c"] == {"cpu-thermal": 48.843, "tj-thermal": 49.5}
    assert told["cpu"] == "Cortex-A78AE"
    assert told["load_1min"] == 0.52
    # User, nice, system and two kinds of interrupts; neither idle nor waiting for a disk.
    assert told["spent_s"]["busy"] == pytest.approx(163 / os.sysconf("SC_CLK_TCK"))
    assert (told["spent_s"]["uptime"], told["spent_s"]["cores"]) == (64099.55, 2)
    assert told["spent_s"]["own"] > 0
    assert told["memory_mb"] == {"total": 7620, "available": 5120, "swap": 3810}
    # The driver of this machine says nothing of that one.
    assert (told["gpu"], told["sm"]) == (None, None)


def test_clocks_that_may_change_are_not_locked(orin_nano: Path) -> None:
    gpu = orin_nano / "sys/class/devfreq/17000000.gpu"
    (gpu / "min_freq").write_text("306000000")
    (gpu / "cur_freq").write_text("306000000")
    told = facts(orin_nano)["clocks"]
    assert told["gpu_mhz"] == {"current": 306, "min": 306, "max": 1020}
    assert told["locked"] is False
    (gpu / "min_freq").write_text("1020000000")
    (orin_nano / "sys/devices/system/cpu/cpu3/cpufreq/scaling_min_freq").write_text("729600")
    assert facts(orin_nano)["clocks"]["locked"] is False


def test_a_nano_with_jetpack_4_says_what_it_is(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
            "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
            "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.8.2.1": "",
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n" + ARM.format("0x41", "0xd07"),
            **cpufreq(4, 1132800, 102000, 1479000),
            **devfreq("57000000.gpu", 76800000, 76800000, 921600000),
        },
    )
    nvpmodel(root, "NVPM WARN: fan mode is not set!\nNV Power Mode: 5W\n1")
    told = facts(root)
    assert told["device"] == "NVIDIA Jetson Nano Developer Kit"
    assert (told["l4t"], told["jetpack"], told["cuda"], told["tensorrt"]) == ("32.7.1", "4.6.1", "10.2.300", "8.2.1")
    assert (told["cpu"], told["power_mode"]) == ("Cortex-A57", "5W")
    assert told["clocks"]["cpu_mhz"] == {"current": 1133, "min": 102, "max": 1479}
    assert told["clocks"]["gpu_mhz"] == {"current": 77, "min": 77, "max": 922}
    assert told["clocks"]["locked"] is False
    assert told["temperatures_c"] is None
    assert told["memory_mb"] is None


def test_a_plain_machine_says_nothing_of_a_jetson(tmp_path: Path) -> None:
    told = facts(tree(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2.20GHz\n"}))
    assert told["cpu"] == "Some CPU @ 2.20GHz"
    nothing = {"device", "l4t", "jetpack", "cuda", "sm", "gpu", "power_mode", "temperatures_c", "load_1min", "spent_s"}
    assert {key: told[key] for key in nothing} == dict.fromkeys(nothing)
    assert told["clocks"] == {"cpu_mhz": None, "gpu_mhz": None, "locked": None}


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 33958178", "35.4.1", "5.1.2"),
        ("# R35 (release), REVISION: 5.0, GCID: 35550185", "35.5.0", "5.1.3"),
        ("# R36 (release), REVISION: 4.0, GCID: 37537400", "36.4.0", "6.1"),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464", "38.2.0", "7.0"),
        ("# R36 (release), REVISION: 99.1, GCID: 1", "36.99.1", "6"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "99.1.0", None),
        ("something else", None, None),
    ],
)
def test_the_jetpack_is_that_of_the_release(tmp_path: Path, release: str, l4t: str | None, jetpack: str | None) -> None:
    told = facts(tree(tmp_path, {"etc/nv_tegra_release": release}))
    assert (told["l4t"], told["jetpack"]) == (l4t, jetpack)


def test_the_newest_of_two_libraries_is_the_version(tmp_path: Path) -> None:
    names = ("libnvinfer.so.8.6.2", "libnvinfer.so.10.3.0", "libnvinfer.so.10")
    root = tree(tmp_path, {f"usr/lib/aarch64-linux-gnu/{name}": "" for name in names})
    assert facts(root)["tensorrt"] == "10.3.0"


def test_a_power_mode_that_is_not_told_is_none(tmp_path: Path) -> None:
    nvpmodel(tmp_path, "NVPM ERROR: failed to read PARAM CPU_ONLINE", status=255)
    assert facts(tmp_path)["power_mode"] is None


def test_a_sensor_that_cannot_be_read_is_left_out(orin_nano: Path) -> None:
    temperature = orin_nano / "sys/class/thermal/thermal_zone0/temp"
    temperature.unlink()
    temperature.mkdir()  # reading it is an OSError, as that of a part without power is
    assert facts(orin_nano)["temperatures_c"] == {"tj-thermal": 49.5}


@given(text=st.text(max_size=60))
def test_no_content_of_a_file_is_too_strange(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("strange")
    names = (
        "etc/nv_tegra_release",
        "proc/cpuinfo",
        "proc/loadavg",
        "proc/stat",
        "proc/meminfo",
        "usr/local/cuda/version.json",
    )
    zone = ("sys/class/thermal/thermal_zone0/type", "sys/class/thermal/thermal_zone0/temp")
    gpu = tuple(devfreq("17000000.gpu", 1, 1, 1))
    for name in names + zone + gpu:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert json.loads(json.dumps(facts(root)))["device"] is None


def test_nothing_is_written(orin_nano: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in orin_nano.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    facts(orin_nano)
    assert state() == before


def driver(folder: Path) -> Path:
    """Compile a libcuda.so.1 that answers for an Orin: no GPU is needed to see that the calls are right."""
    source = folder / "cuda.c"
    source.write_text(
        """
        #include <string.h>
        int cuInit(unsigned flags) { return flags != 0; }
        int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal != 0; }
        int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
        int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return device != 7; }
        int cuDeviceGetAttribute(int *value, int attribute, int device) {
            *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
            return device != 7;
        }
        """
    )
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    return folder


def printed(folder: Path, **environment: str) -> dict[str, Any]:
    """Return what device.py prints where it lies alone, as in a bundle."""
    shutil.copy(ROOT / "export/device.py", folder)
    ended = subprocess.run(
        [sys.executable, "device.py"], cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True
    )
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def test_the_driver_tells_the_gpu_and_its_generation(tmp_path: Path) -> None:
    told = printed(tmp_path, LD_LIBRARY_PATH=str(driver(tmp_path)))
    assert (told["gpu"], told["sm"]) == ("Orin", "8.7")


def test_alone_in_a_folder_it_tells_what_this_machine_is(tmp_path: Path) -> None:
    told = printed(tmp_path)
    assert told["python"] == platform.python_version()
    assert told["numpy"] == np.__version__
    assert told["cores"] == len(os.sched_getaffinity(0))
    assert told["memory_mb"]["total"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert told["cpu"] == cpu_name()
