"""Run a command and tell what it took; a program of its own, `python -I -S launch.py COMMAND …`.

A process begins with the peak of the one that made it (exec_mmap() in fs/exec.c keeps
hiwater_rss), so what is measured must be the child of a small one: this. It ends like the
command did, and prints a line of JSON on its standard output; the command's own goes to
standard error.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the command; prints seconds, the peak of its memory in KiB, its exit status."""
    started = time.perf_counter()
    pid = os.posix_spawnp(
        sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)]
    )
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": took, "peak_kib": usage.ru_maxrss, "status": code}))


if __name__ == "__main__":
    main()
