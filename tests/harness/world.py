"""Scripts in a world of their own: process 1, mounts, /run and network, and none of the machine's.

For what may not be done to the machine itself: taking a bpffs away, filling /run. What a
script leaves, mounts and namespaces, goes with its last process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = Path(sys.executable).parent  # where bpfilter is installed

# The machine's own bpffs stays mounted under the new /run, out of sight.
_SETUP = """
set -eu
mount -t tmpfs -o mode=755 none /run
mount -t sysfs none /sys
mkdir /run/netns
ip link set lo up
"""


def in_world(script: str, *words: str) -> str:
    """Run a shell script, `$1` and on are `words`; give what it prints, errors included.

    Raises: CalledProcessError, with what was printed as a note.
    """
    command = ["unshare", "--pid", "--mount", "--net", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*command, "bash", "-c", _SETUP + script, "script", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{COMMANDS}:{os.environ['PATH']}"},
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, script)
        error.add_note(done.stdout)
        raise error
    return done.stdout
