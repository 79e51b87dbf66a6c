"""A Debian root with the programs that call iptables, made once and kept in a cache.

cache/lock                  held while a root is made
cache/root-<recipe>-<n>/    a root; <recipe> changes with what this module asks for
cache/bytecode/             what Python inside compiles of this project (see sandbox.py)

Nothing in it is ever run on this machine's own network: `sandbox.py` says how it is entered.
`python -m tests.harness.debian_root` makes it and says where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.harness.debian import FetchError, cache_directory, find_mirror, run

RELEASE = "trixie"

#: A root as young as this (seconds) is used as it is.
FRESH_S = 14 * 86400

#: Those under test, what they are judged by and with, and what this project imports.
PACKAGES = (
    *("iptables", "ipset", "nftables", "conntrack", "iproute2", "kmod", "netbase"),
    *("ufw", "fail2ban", "ferm", "shorewall", "shorewall6", "firewalld", "docker.io", "netavark"),
    "docker-cli",
    *("python3", "python3-numpy", "python3-pyroute2", "python3-rich"),
    *("busybox-static", "dbus", "iputils-ping", "procps"),
)

#: ufw declares that it breaks these, though no file of theirs is in its way: they are unpacked.
UNPACKED = ("netfilter-persistent", "iptables-persistent")

#: Languages and manuals are not asked for; what a crash would lose can be made again.
_OPTIONS = (
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Acquire::Retries "3"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
_UNPACK = f"""\
chroot "$1" sh -ec 'cd /tmp; apt-get -q download {" ".join(UNPACKED)}
for package in *.deb; do dpkg-deb -x $package /; done; rm *.deb'"""


def find_root(cache: Path | None = None) -> Path:
    """Give the directory of a root, making it if there is none. Raises: FetchError."""
    cache = cache or cache_directory("clients")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        roots = sorted(cache.glob(f"root-{_recipe()}-*"), key=_age)
        if roots and _age(roots[0]) < FRESH_S:
            return roots[0]
        made = _make(cache)
        # Another checkout may be running in an old one, but not for so long.
        for old in cache.glob("root-*"):
            if _age(old) > 2 * FRESH_S:
                shutil.rmtree(old)
        return made


def _recipe() -> str:
    words = (RELEASE, *PACKAGES, *_OPTIONS, _UNPACK)
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _age(root: Path) -> float:
    # Of the making: what is in a root never changes after.
    return time.time() - (root / "etc/hostname").stat().st_mtime


def _make(cache: Path) -> Path:
    for program in ("mmdebstrap", "apt-get", "unshare"):
        if not shutil.which(program):
            raise FetchError(f"{program} is needed to make a Debian root")
    if os.geteuid():
        raise FetchError("making a Debian root needs root on this machine")
    for left in cache.glob("making-*"):  # by a run that was killed: the lock is ours
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as name:
        target = Path(name, "root")
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *_OPTIONS]
        command += [f"--include={','.join(PACKAGES)}", f"--customize-hook={_UNPACK}"]
        # Its processes and mounts end with it. The network it shares, for the packages come from
        # there; mmdebstrap's policy-rc.d and start-stop-daemon see to it that nothing is started.
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        source = f"deb {find_mirror()} {RELEASE} main"
        run([*inside, *command, RELEASE, str(target), source], name="mmdebstrap")
        (target / "etc/hostname").write_text("sandbox\n")
        made = cache / f"root-{_recipe()}-{int(time.time())}"
        target.rename(made)
    return made


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_root()}\n")
    except FetchError as error:
        sys.exit(f"no Debian root: {error}")
