#!/usr/bin/env python3
"""Write docs/man/bpfilter*.8 from the commands' own parsers, so that man page and --help agree.

Run it whenever an option or a help text changes (a unit test fails then):
`PYTHONPATH=src python3 scripts/gen_man.py`.

Pages that are about no command of these, iptables-bpf(8) and bpfilter.conf(5), are written by
hand; they lack the line that says otherwise.

A parser's epilog is blocks with an empty line between: prose, or a title line
(`examples:`, `exit status:`) with indented lines below it.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from bpfilter.cli.main import COMMANDS, build_parser, command_parser
from bpfilter.cli.usage import options

BY_US = "Written by scripts/gen_man.py; do not edit."
DIRECTORY = Path(__file__).parent.parent / "docs" / "man"
DATE = "November 23, 2026"

#: Of the page of the command itself, beyond what its help says.
DESCRIPTION = """\
enforces the filter table of iptables(8) and ip6tables(8) rulesets by eBPF programs at the
netfilter hooks, with iptables' verdicts and counters.
Its iptables-bpf(8) is a third iptables beside those of nf_tables and of the kernel's old tables.
No daemon runs: programs and state are pinned, one set for each network namespace.
"""
FILES = {
    "/run/bpfilter/bpf": "a bpffs with the programs, maps and links, a directory for each network "
    "namespace, named by its inode number",
    "/run/bpfilter/state": (
        "what is in force in each network namespace, the writers' lock, and what was found out "
        "about the running kernel"
    ),
    "/run/xtables.lock": "what all iptables lock while they change rules",
    "/etc/bpfilter.conf": "settings; see bpfilter.conf(5)",
    "/etc/bpfilter/rules.v4, rules.v6": "rules of all tables, as saved for the next boot",
    "/var/lib/bpfilter/installed.json": "what was there before 'bpfilter install'",
}
ENVIRONMENT = {
    "BPFILTER_CONF": "if set, the file to read in the place of /etc/bpfilter.conf",
    "XTABLES_LOCKFILE": "if set, the file to lock in the place of /run/xtables.lock",
    "NO_COLOR": "if set, messages are not coloured on a terminal either",
    "BPFILTER_TRACEBACK": "if set, a bug in bpfilter is shown with its whole traceback",
}


def pages() -> dict[str, str]:
    """Give file name and text of each page."""
    made = {"bpfilter.8": "\n".join(_main_page()) + "\n"}
    for name in COMMANDS:
        made[f"bpfilter-{name}.8"] = "\n".join(_command_page(name)) + "\n"
    return made


def _main_page() -> Iterator[str]:
    parser = build_parser()
    yield from _head("bpfilter", parser.description or "")
    yield ".Sh SYNOPSIS"
    yield ".Nm"
    yield ".Ar COMMAND"
    yield ".Op Ar option ..."
    yield from (".Nm", ".Fl -version", ".Sh DESCRIPTION", ".Nm")
    yield from _text(DESCRIPTION)
    yield from (".Pp", "The commands, each with a page of its own:", ".Bl -tag -width confirm")
    for name, summary in COMMANDS.items():
        yield f".It Xr bpfilter-{name} 8"
        yield from _text(f"{_capitalised(summary)}.")
    yield ".El"
    yield from _list("ENVIRONMENT", "Ev", ENVIRONMENT)
    yield from _list("FILES", "Pa", FILES)
    yield from _sections(parser)
    yield from _see_also("bpfilter")


def _command_page(name: str) -> Iterator[str]:
    parser = command_parser(name)
    yield from _head(f"bpfilter-{name}", COMMANDS[name])
    yield from (".Sh SYNOPSIS", f".Nm bpfilter {name}", *_synopsis(parser))
    yield from (".Sh DESCRIPTION", *_text(parser.description or ""))
    for block in _blocks(parser):
        if not _title(block):
            yield from (".Pp", *_text(block))
    yield ".Sh OPTIONS"
    for group in parser._action_groups:
        if group.title not in ("positional arguments", "options"):
            yield f".Ss {_capitalised(group.title or '')}"
        yield from _items(group._group_actions)
    yield from _sections(parser, status="As described in\n.Xr bpfilter 8 .")
    yield from _see_also(f"bpfilter-{name}")


def _head(name: str, summary: str) -> Iterator[str]:
    yield f'.\\" {BY_US}'
    yield f".Dd {DATE}"
    yield f".Dt {name.upper()} 8"
    yield ".Os Linux"
    yield ".Sh NAME"
    yield f".Nm {name}"
    yield f".Nd {_escape(summary[0].lower() + summary[1:].rstrip('.'))}"


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    exclusive = {
        id(action): group._group_actions
        for group in parser._mutually_exclusive_groups
        for action in group._group_actions
    }
    seen: set[int] = set()
    for action in sorted(options(parser), key=lambda action: not action.option_strings):
        if id(action) in seen or "--help" in action.option_strings:
            continue
        group = exclusive.get(id(action), [action])
        seen.update(map(id, group))
        if action.option_strings:
            words = " | ".join(_flag(member, member.option_strings[0]) for member in group)
            yield f".Oo {words} Oc" if action.required is False else f".{words}"
        else:
            many = " ..." if action.nargs in ("+", "*") else ""
            optional = ".Op " if action.nargs in ("?", "*") else "."
            yield f"{optional}Ar {_argument(action)}{many}"


def _items(actions: list[argparse.Action]) -> Iterator[str]:
    if not actions:
        return
    yield ".Bl -tag -width Ds"
    for action in actions:
        spellings = [_flag(action, spelling) for spelling in action.option_strings]
        yield f".It {' , '.join(spellings) or f'Ar {_argument(action)}'}"
        yield from _text(f"{_capitalised(action.help or '')}.")
    yield ".El"


def _flag(action: argparse.Action, spelling: str) -> str:
    argument = "" if action.nargs == 0 else f" Ar {_argument(action)}"
    return f"Fl {_escape(spelling[1:])}{argument}"


def _argument(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _blocks(parser: argparse.ArgumentParser) -> list[str]:
    return [block for block in (parser.epilog or "").strip().split("\n\n") if block]


def _title(block: str) -> str:
    """Give the title of a block that is not prose, and of an exit status in a sentence."""
    first, _, rest = block.partition("\n")
    if block.startswith("exit status: "):
        return "exit status"
    return first[:-1] if first.endswith(":") and rest.startswith("  ") else ""


def _sections(parser: argparse.ArgumentParser, status: str = "") -> Iterator[str]:
    """Give the sections that have titles, exit status before the others, as is customary."""
    titled = {_title(block): block for block in _blocks(parser) if _title(block)}
    if "exit status" not in titled and status:
        yield from (".Sh EXIT STATUS", *status.split("\n"))
    for title in sorted(titled, key=lambda title: title != "exit status"):
        yield f".Sh {title.upper()}"
        first, *lines = titled[title].split("\n")
        if first.endswith(":"):
            yield from (".Bd -literal -compact", *(_escape(line[2:]) for line in lines), ".Ed")
        else:
            yield from _text(_capitalised(titled[title].removeprefix(f"{title}: ")))


def _list(title: str, macro: str, entries: dict[str, str]) -> Iterator[str]:
    yield f".Sh {title}"
    yield ".Bl -tag -width Ds"
    for name, meaning in entries.items():
        yield f".It {macro} {name}"
        yield from _text(f"{_capitalised(meaning)}.")
    yield ".El"


def _see_also(own: str) -> Iterator[str]:
    yield ".Sh SEE ALSO"
    names = ["bpfilter", *(f"bpfilter-{name}" for name in COMMANDS)]
    others = [f"{name} 8" for name in sorted(names) if name != own]
    others += ["iptables-bpf 8", "bpfilter.conf 5", "ip-netns 8", "iptables 8", "iptables-save 8"]
    for name in others:
        yield f".Xr {name}{'' if name == others[-1] else ' ,'}"


def _text(prose: str) -> Iterator[str]:
    # A line for each sentence, as mdoc(7) asks for.
    flat = " ".join(prose.split())
    for sentence in re.split(r"(?<=[.;:]) (?=[A-Z'])", flat):
        yield from map(_escape, textwrap.wrap(sentence, 70, break_on_hyphens=False))


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("'", "\\(aq").replace("…", "...")
    return f"\\&{text}" if text.startswith(".") else text


def main() -> int:
    DIRECTORY.mkdir(exist_ok=True)
    wanted = pages()
    for path in DIRECTORY.glob("*.8"):
        if path.name not in wanted and BY_US in path.read_text("utf-8"):
            path.unlink()
    for name, text in wanted.items():
        (DIRECTORY / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
