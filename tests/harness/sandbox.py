"""Commands of a Debian root, in a network namespace of the caller's and all else their own.

A sandbox's process 1 has its own mounts, process ids, IPC, host name and cgroup view. The root
is the lower layer of an overlay whose upper layer is memory, so that runs share it and leave
nothing in it; killing process 1 ends every process of the sandbox, and with them its mounts.

It is entered by pivot_root(2), not chroot(2): process 1 of the process ids seen in there, its
/proc and its mount namespace belong together. This project's own program joins the mount
namespace of process 1 to mount its bpffs; after a chroot that would lead out of the root.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType

from tests.harness.netns import PREFIX, Namespace
from tests.harness.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PYTHONHASHSEED": "0",  # sets are printed and worked through in the same order
}

#: What Debian's alternatives switch, by family and then by what is put behind it.
FAMILIES = ("iptables", "ip6tables")
SUFFIXES = ("", "-save", "-restore")

_PROGRAM = """\
#!/usr/bin/python3
import sys
sys.pycache_prefix = "/opt/bytecode"
sys.path.insert(0, "/opt/bpfilter")
from {module} import run
sys.exit(run())
"""
_PROGRAMS = {
    "/usr/sbin/iptables-bpf": "bpfilter.iptables.program",
    "/usr/sbin/bpfilter": "bpfilter.cli.main",
}

# What process 1 does before it waits for others. /proc is still the outer one in the first line:
# it tells our number out there. Nothing of the outer tree is left to be seen at the end.
_INIT = """\
read -r outer rest < /proc/self/stat
mount --make-rprivate /
mount -t tmpfs -o mode=755 sandbox /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$ROOT,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
if [ -n "$CGROUP" ]; then mount -t cgroup2 cgroup sys/fs/cgroup; fi
for memory in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs $memory; done
chmod 1777 tmp
mkdir -p dev/pts dev/shm mnt/outer opt/bpfilter opt/bytecode
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
for node in null zero full random urandom tty; do
    : > dev/$node
    mount --bind /dev/$node dev/$node
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount --bind "$SOURCE" opt/bpfilter
mount -o remount,bind,ro opt/bpfilter
mount --bind "$BYTECODE" opt/bytecode
pivot_root . mnt/outer
umount -l /mnt/outer
hostname sandbox
echo $outer
exec sh -c 'sleep infinity & while wait; do :; done' < /dev/null > /dev/null 2>&1
"""

# A cgroup namespace has the cgroup as its root that its first process was in.
_OUTER = """\
if [ -n "$CGROUP" ]; then echo $$ > "$CGROUP/cgroup.procs"; fi
exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child sh -euc "$1"
"""


class Command(Enum):
    """What `iptables` is in a sandbox."""

    LEGACY = "legacy"
    NFT = "nft"
    BPF = "bpf"


class CommandError(AssertionError):
    """A command in a sandbox failed; says what it printed."""


@dataclass(slots=True)
class Sandbox:
    """A running process 1, and the way in; `close` ends it with all that runs in there."""

    init: subprocess.Popen[str]
    pid: int
    command: Command
    cgroup: Path | None
    _daemons: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path, namespace: Namespace, command: Command) -> Sandbox:
        """Start one in a network namespace; `iptables` and its family are `command`'s."""
        bytecode = root.parent / "bytecode"
        bytecode.mkdir(exist_ok=True)
        cgroup = _make_cgroup(namespace.name)
        places = {"ROOT": root, "SOURCE": CHECKOUT / "src", "BYTECODE": bytecode}
        # Whoever dies, pytest or unshare, takes what it started along.
        words = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={namespace.path}"]
        init = subprocess.Popen(
            [*words, "sh", "-euc", _OUTER, "sh", _INIT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **{key: str(path) for key, path in places.items()}}
            | {"CGROUP": str(cgroup or "")},
        )
        assert init.stdout
        assert init.stderr
        line = init.stdout.readline().strip()
        if not line.isdigit():
            init.kill()
            raise CommandError(f"no sandbox: {init.stderr.read().strip()}")
        made = cls(init, int(line), command, cgroup)
        made._choose(command)
        return made

    def _choose(self, command: Command) -> None:
        # As update-alternatives would, which takes a while to say the same.
        lines = ["set -e"]
        if command is Command.BPF:
            for path, module in _PROGRAMS.items():
                text = shlex.quote(_PROGRAM.format(module=module))
                lines.append(f"printf %s {text} > {path}; chmod 755 {path}")
        for family in FAMILIES:
            for suffix in SUFFIXES:
                there = f"/usr/sbin/{family}-{command.value}{suffix}"
                if command is Command.BPF and there != "/usr/sbin/iptables-bpf":
                    lines.append(f"ln -s iptables-bpf {there}")
                lines.append(f"ln -sfn {there} /etc/alternatives/{family}{suffix}")
        self.shell("\n".join(lines))

    def words(self, *words: str) -> list[str]:
        """Give the words of a command out here that runs one in there."""
        return ["nsenter", f"--target={self.pid}", "--all", "--", *words]

    def run(
        self,
        *words: str,
        stdin: str | None = None,
        status: int | None = 0,
        seconds: float = 180,
        env: dict[str, str] | None = None,
    ) -> str:
        """Run a command and give what it printed; `status` None takes any exit status."""
        done = subprocess.run(
            self.words(*words),
            input=stdin or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
            env={**ENVIRONMENT, **(env or {})},
        )
        if status is not None and done.returncode != status:
            raise CommandError(f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def shell(self, script: str, status: int | None = 0) -> str:
        return self.run("sh", "-c", script, status=status)

    def start(self, *words: str, log: str = "/var/log/daemon.log") -> subprocess.Popen[str]:
        """Start a command that stays; what it prints goes to a file in the sandbox."""
        line = 'log=$1; shift; exec "$@" > "$log" 2>&1 < /dev/null'
        started = subprocess.Popen(
            self.words("sh", "-c", line, "sh", log, *words), text=True, env=ENVIRONMENT
        )
        self._daemons.append(started)
        return started

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file in there. Not through /proc/PID/root: links there lead out here."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def close(self) -> None:
        """End process 1: the kernel kills the others and undoes the mounts."""
        if self.init.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.init.communicate()
        for daemon in self._daemons:
            daemon.wait(10)
        if self.cgroup:
            _remove_cgroup(self.cgroup)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _make_cgroup(name: str) -> Path | None:
    # Of the second version, wherever this machine has that mounted; containers go below it.
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            for left in Path(place).glob(f"{PREFIX}*"):  # by runs that were killed
                pid = left.name.removeprefix(PREFIX).split("-")[0]
                if not Path("/proc", pid).exists():
                    _remove_cgroup(left)
            made = Path(place, name)
            made.mkdir(exist_ok=True)
            return made
    return None


def _remove_cgroup(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        wait_until(lambda: _is_removed(directory), f"{directory} is empty")  # noqa: B023


def _is_removed(directory: str) -> bool:
    # The last process leaves a cgroup a little after it was waited for.
    try:
        os.rmdir(directory)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True
