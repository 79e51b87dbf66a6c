"""`-h`: what the commands take, in iptables' order and layout, and what extensions add."""

from __future__ import annotations

from bpfilter.iptables.messages import version_line
from bpfilter.rules.draft import Draft
from bpfilter.rules.model import Family

_COMMANDS = (
    ("-[ACD] chain rule-specification", True),
    ("-I chain [rulenum] rule-specification", True),
    ("-R chain rulenum rule-specification", True),
    ("-D chain rulenum", True),
    ("-[LS] [chain [rulenum]]", True),
    ("-[FZ] [chain]", True),
    ("-[NX] chain", False),
    ("-E old-chain-name new-chain-name", False),
    ("-P chain target", True),
    ("-h (prints this)", False),
)
_WORDS = """
Commands, by their short or their long names:
  --append       -A chain            add a rule at the end of a chain
  --check        -C chain            tell whether a chain has this rule
  --delete       -D chain            take this rule out of a chain
  --delete       -D chain rulenum    take a rule out by its number, from 1
  --insert       -I chain [rulenum]  put a rule in, as number 1 or the one given
  --replace      -R chain rulenum    put a rule where another is
  --list         -L [chain [rulenum]]  show rules as a table
  --list-rules   -S [chain [rulenum]]  show rules as commands
  --flush        -F [chain]          take out all rules of a chain, or of all
  --zero         -Z [chain [rulenum]]  set counters to zero
  --new-chain    -N chain            make a chain
  --delete-chain -X [chain]          remove an empty chain, or all of them
  --policy       -P chain target     what a base chain does at its end
  --rename-chain -E old new          give a chain another name

Options:
    --ipv4          -4               of a restored text, lines for iptables
    --ipv6          -6               of a restored text, lines for ip6tables
[!] --protocol      -p proto         protocol, by name or number
[!] --source        -s address[/mask][,...]
                                     where packets come from
[!] --destination   -d address[/mask][,...]
                                     where packets go
[!] --in-interface  -i name[+]       interface they come in by; + for any rest
    --jump          -j target        what becomes of them: a verdict, a chain or
                                     an extension
    --goto          -g chain         go to a chain, and not come back
    --match         -m match         use an extension's conditions
    --numeric       -n               show addresses and ports as numbers
[!] --out-interface -o name[+]       interface they leave by
    --table         -t table         which table; filter unless given
    --verbose       -v               say more
    --wait          -w [seconds]     wait for the xtables lock, for ever or so long
    --line-numbers                   number the rules that are shown
    --exact         -x               show counters in full
{fragment}    --modprobe=command               taken, and not used
    --set-counters  -c packets bytes  what counters of the rule begin with
    --version       -V               print the version
"""
_FRAGMENT = "[!] --fragments     -f               all fragments but the first\n"

_RESTORE = """\
Usage: {program} [-c] [-v] [-V] [-t] [-h] [-n] [-w [secs]] [-T table] [-M command] [file]
    --counters       take the counters in the text
    --noflush        leave what is in force, and add to it
    --test           read and check only
    --verbose        say what is done
    --table=name     take this table of the text alone
    --wait[=secs]    wait for the xtables lock
    --modprobe=...   taken, and not used
    --version, --help
"""


def usage(family: Family, draft: Draft) -> str:
    """Give the help, with that of the extensions named so far."""
    program = family.command
    lines = [version_line(program), ""]
    for at, (command, has_options) in enumerate(_COMMANDS):
        lead = "       " if at else "Usage: "
        lines.append(f"{lead}{program} {command}{' [options]' if has_options else ''}")
    fragment = _FRAGMENT if family is Family.IPV4 else ""
    text = "\n".join(lines) + "\n" + _WORDS.format(fragment=fragment)
    named = [loaded.cls for loaded in draft.matches]
    if draft.target is not None and draft.target.cls is not None:
        named.append(draft.target.cls)
    return text + "".join(f"\n{_extension(cls)}" for cls in named)


def _extension(cls: type) -> str:
    from bpfilter.rules.usage import extension_help

    return extension_help(cls)


def restore_usage(program: str) -> str:
    """Give the help of iptables-restore."""
    return _RESTORE.format(program=program)
