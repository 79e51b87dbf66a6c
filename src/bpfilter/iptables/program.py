"""`iptables-bpf` and its like: one program, which does what its name says.

    [ip6]tables[-bpf]             command.py: one command
    [ip6]tables[-bpf]-save        save.py
    [ip6]tables[-bpf]-restore     restore.py

By the names without `-bpf` it is called where it is the system's iptables.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from bpfilter import process
from bpfilter.errors import Error
from bpfilter.iptables.messages import OTHER, tell, version_line
from bpfilter.rules.model import Family

#: Of a program that SIGPIPE ends, as others are whose reader has left: perhaps nothing was done.
SIGNALLED = 128 + 13

_NAME = re.compile(r"(ip6?tables)(?:-bpf)?(?:-(save|restore))?")


def main(argv: Sequence[str]) -> int:
    """Do what `argv[0]` says with the words after it; gives the exit status."""
    name = argv[0].rpartition("/")[2]
    found = _NAME.fullmatch(name)
    if found is None:
        print(
            f"{name}: this program is called by a name such as iptables-bpf, "
            "ip6tables-bpf-save or iptables-restore",
            file=sys.stderr,
        )
        return OTHER
    family = Family.IPV4 if found[1] == "iptables" else Family.IPV6
    verb = found[2] or ""
    program = f"{family.command}-{verb}" if verb else family.command
    if argv[1:] in (["-V"], ["--version"]):  # which is asked for before anything else is
        print(version_line(program))
        return 0
    try:
        status = _run(family, verb, list(argv[1:]))
        sys.stdout.flush()
    except Error as error:
        return tell(error, program)
    except BrokenPipeError:
        process.no_more_output()
        return SIGNALLED
    except OSError as error:
        process.no_more_output()
        print(f"{version_line(program)}: {error}", file=sys.stderr)
        return OTHER
    except KeyboardInterrupt:
        return 130
    return status


# Each is imported alone: it is started hundreds of times in a row.
def _run(family: Family, verb: str, words: list[str]) -> int:
    if verb == "save":
        from bpfilter.iptables import save

        return save.run(family, words)
    if verb == "restore":
        from bpfilter.iptables import restore

        return restore.run(family, words)
    from bpfilter.iptables import command

    return command.run(family, words)


def run() -> None:
    """Be the command."""
    process.begin()
    process.end(main(sys.argv))
