#!/usr/bin/env python3
"""Write completions/ for bash and zsh from the commands' own parsers.

Run it whenever an option changes (a unit test fails then):
`PYTHONPATH=src python3 scripts/gen_completions.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bpfilter.cli.main import COMMANDS, build_parser, command_parser
from bpfilter.cli.usage import options

DIRECTORY = Path(__file__).parent.parent / "completions"
HEAD = "Written by scripts/gen_completions.py; do not edit."
BASE_CHAINS = "INPUT FORWARD OUTPUT"

#: What an argument is, by its name in the help: how bash and zsh list candidates.
BASH = {
    "FILE": "_bpfilter_files",
    "NETNS": '_bpfilter_words "$(ls /run/netns 2>/dev/null)"',
    "INTERFACE": '_bpfilter_words "$(ls /sys/class/net 2>/dev/null)"',
    "DIR": "_bpfilter_directories",
    "CHAIN": f'_bpfilter_words "{BASE_CHAINS}"',
}
ZSH = {
    "FILE": "_files",
    "NETNS": "_files -W /run/netns",
    "INTERFACE": "_net_interfaces",
    "DIR": "_files -/",
    "CHAIN": f"({BASE_CHAINS})",
}


def files() -> dict[str, str]:
    """Give file name and text of each."""
    return {
        "bpfilter.bash": "\n".join(_bash()) + "\n",
        "_bpfilter": "\n".join(_zsh()) + "\n",
    }


def kind(action: argparse.Action) -> str:
    """Name what completes an argument: a key of BASH and ZSH, words to choose from, or nothing."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    if "--netns" in action.option_strings:
        return "NETNS"
    if {"--in", "--out"} & set(action.option_strings):
        return "INTERFACE"
    return str(action.metavar) if action.metavar in BASH else ""


def _top_options() -> list[argparse.Action]:
    return [action for action in options(build_parser()) if action.option_strings]


def _bash() -> Iterator[str]:
    top = [name for action in _top_options() for name in action.option_strings]
    yield f"# bash completion for bpfilter. {HEAD}"
    yield """
_bpfilter_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_bpfilter_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_bpfilter_directories() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_bpfilter() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then"""
    yield f'        _bpfilter_words "{" ".join([*COMMANDS, *top])}"'
    yield "        return"
    yield "    fi"
    yield "    case ${COMP_WORDS[1]} in"
    for name in COMMANDS:
        yield from _bash_command(name)
    yield "    esac"
    yield "}"
    yield ""
    yield "complete -F _bpfilter bpfilter"


def _bash_command(name: str) -> Iterator[str]:
    actions = options(command_parser(name))
    flags = [spelling for action in actions for spelling in action.option_strings]
    yield f"    {name})"
    yield "        case $prev in"
    for action in actions:
        if action.option_strings and action.nargs != 0:
            answer = _bash_answer(kind(action))
            yield f"            {'|'.join(action.option_strings)}) {answer}return ;;"
    yield "        esac"
    positional = next((kind(action) for action in actions if not action.option_strings), "")
    yield "        if [[ $cur == -* ]]; then"
    yield f'            _bpfilter_words "{" ".join(flags)}"'
    if positional:
        yield "        else"
        yield f"            {BASH[positional]}"
    yield "        fi"
    yield "        ;;"


def _bash_answer(of: str) -> str:
    if not of:
        return ""
    return f"{BASH[of]}; " if of in BASH else f'_bpfilter_words "{of}"; '


def _zsh() -> Iterator[str]:
    yield "#compdef bpfilter"
    yield f"# zsh completion for bpfilter. {HEAD}"
    yield ""
    yield "_bpfilter() {"
    yield "    local context state line"
    yield "    typeset -A opt_args"
    yield "    _arguments -C \\"
    for action in _top_options():
        yield f"        {_zsh_option(action, '- *')} \\"
    yield "        '1:command:->command' '*::argument:->argument'"
    yield "    case $state in"
    yield "    command)"
    yield "        local -a commands"
    yield "        commands=("
    for name, summary in COMMANDS.items():
        yield f"            {_quote(f'{name}:{summary}')}"
    yield "        )"
    yield "        _describe -t commands command commands"
    yield "        ;;"
    yield "    argument)"
    yield "        case $words[1] in"
    for name in COMMANDS:
        yield from _zsh_command(name)
    yield "        esac"
    yield "        ;;"
    yield "    esac"
    yield "}"
    yield ""
    yield '_bpfilter "$@"'


def _zsh_command(name: str) -> Iterator[str]:
    parser = command_parser(name)
    specs = []
    for action in options(parser):
        if not action.option_strings:
            many = "*" if action.nargs in ("+", "*") else "1"
            specs.append(_quote(f"{many}:{str(action.metavar).lower()}:{ZSH[kind(action)]}"))
            continue
        against = [
            spelling
            for group in parser._mutually_exclusive_groups
            if action in group._group_actions
            for other in group._group_actions
            for spelling in other.option_strings
        ]
        repeats = isinstance(action, argparse._AppendAction)
        specs.append(_zsh_option(action, " ".join(against or action.option_strings), repeats))
    yield f"        {name})"
    yield "            _arguments -s \\"
    for spec in specs[:-1]:
        yield f"                {spec} \\"
    yield f"                {specs[-1]}"
    yield "            ;;"


def _zsh_option(action: argparse.Action, against: str, repeats: bool = False) -> str:
    meaning = (action.help or "").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    tail = f"[{meaning}]"
    if action.nargs != 0:
        of = kind(action)
        answer = ZSH.get(of, f"({of})" if of else "")
        tail += f":{str(action.metavar or action.dest).lower().replace(':', '')}:{answer}"
    lead = "'*'" if repeats else _quote(f"({against})")
    spellings = action.option_strings
    one = spellings[0] if len(spellings) == 1 else f"{{{','.join(spellings)}}}"
    return f"{lead}{one}{_quote(tail)}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def main() -> int:
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in files().items():
        (DIRECTORY / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
