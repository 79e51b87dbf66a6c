"""Where, when and with what something was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import bpfilter


def describe() -> dict[str, str]:
    """Give what a reader of the figures should know of the machine."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "processor": f"{_processor()}, {os.cpu_count()} CPUs",
        "Python": platform.python_version(),
        "bpfilter": bpfilter.__version__,
        "iptables": _version("iptables", "--version"),
        "nft": _version("nft", "--version"),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(*words: str) -> str:
    try:
        text = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "none"
    found = re.search(r"\d[\d.]+", text)
    return found[0] if found else "unknown"
