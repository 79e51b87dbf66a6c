"""Have iptables-legacy 1.8.11 read each case and keep what it prints; see README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMESPACE = "bpft-golden"

#: suffix of the output -> words after the command's name; None is `iptables-save -c`.
VIEWS: dict[str, list[str] | None] = {
    ".save": None,
    ".rules": ["-vS"],
    ".list": ["-nvxL"],
    ".human": ["-nvL"],
    ".short": ["-nL", "--line-numbers"],
    ".names": ["-vL"],
    ".names-short": ["-L"],
}

#: What to run in a root directory, with the files there that iptables wants.
ENTER = 'mount -t proc proc "$0/proc" && mount -t tmpfs run "$0/run" && exec chroot "$0" "$@"'


def run(*words: str, stdin: str = "") -> str:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def capture(case: Path, root: str) -> None:
    command = "ip6tables-legacy" if case.suffix == ".in6" else "iptables-legacy"
    inside = ("ip", "netns", "exec", NAMESPACE, "unshare", "--mount", "sh", "-c", ENTER, root)
    text = case.read_text()
    run("ip", "netns", "add", NAMESPACE)
    try:
        run(*inside, f"{command}-restore", "-c", stdin=text)
        tables = [line[1:] for line in text.splitlines() if line.startswith("*")]
        for suffix, words in VIEWS.items():
            parts = []
            for table in tables:
                if words is None:
                    saved = run(*inside, f"{command}-save", "-c", "-t", table).splitlines(True)
                    parts.append("".join(line for line in saved if line[0] != "#"))
                else:
                    parts.append(run(*inside, command, "-t", table, *words))
            case.with_suffix(suffix).write_text("".join(parts))
    finally:
        run("ip", "netns", "del", NAMESPACE)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: capture.py ROOT, where iptables-legacy 1.8.11 is installed")
    for path in sorted(HERE.glob("*.in*")):
        capture(path, sys.argv[1])
