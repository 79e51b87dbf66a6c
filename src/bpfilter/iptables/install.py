"""Put the commands where others are, register them, and bring rules back at boot.

    links in /usr/sbin → /etc/bpfilter.conf → boot service → alternatives

The alternatives come last: until then nothing that is there already has changed. Each step
looks at what is there, so that all of them can be taken again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bpfilter.dataclass import dataclass
from bpfilter.errors import Error
from bpfilter.iptables.alternatives import Alternatives, Group
from bpfilter.iptables.installed import Installed, link_whole, write_whole

COMMANDS = ("iptables", "ip6tables")
VERBS = ("restore", "save")
PROGRAMS = tuple(
    name for each in COMMANDS for name in (f"{each}-bpf", *(f"{each}-bpf-{v}" for v in VERBS))
)
CONFIGURATION = "/etc/bpfilter.conf"
UNIT = "/etc/systemd/system/bpfilter.service"
WANTED = "/etc/systemd/system/multi-user.target.wants/bpfilter.service"
SYSTEMD = ("usr/lib/systemd/systemd", "lib/systemd/systemd")

#: Below legacy's 10: being one of the choices changes nothing.
PRIORITY = 5
#: Above nft's 20: what the automatic mode takes.
PREFERRED = 30

Say = Callable[[str], None]


class InstallError(Error):
    """Something is in the way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to install: `scripts` is where pip put the programs, `directory` where links go.

    `select` is "", `set` or `auto`. A dry run only says what would be done.
    """

    root: Path
    scripts: str
    directory: str
    select: str = ""
    dry_run: bool = False

    @property
    def is_live(self) -> bool:
        """Whether this is the machine that we run on, and no tree."""
        return str(self.root) == "/"


def install(plan: Plan, say: Say) -> None:
    """Do all steps, and say each. Raises: InstallError, before anything is changed."""
    installing = _Installing(plan, say)
    installing.check()
    installing.warn()
    installing.links()
    installing.configuration()
    installing.service()
    installing.alternatives()


class _Installing:
    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan = plan
        self.say = say
        self.record = Installed.read(plan.root) or Installed(plan.root)

    def check(self) -> None:
        """Raises: InstallError."""
        for name in (*PROGRAMS, "bpfilter"):
            script = self.record.at(f"{self.plan.scripts}/{name}")
            if not script.exists():
                raise InstallError(
                    f"{script} is not there: pip puts it beside the command bpfilter; --scripts "
                    "says where else it is"
                )
        for path in map(self._link, PROGRAMS):
            place = self.record.at(path)
            if os.path.lexists(place) and not self._may_replace(path):
                raise InstallError(f"{place} is there already, and not of our making")

    def warn(self) -> None:
        """Say who else could change what root will run."""
        script = self.record.at(f"{self.plan.scripts}/iptables-bpf")
        owners = {path.stat().st_uid for path in (script, *script.parents)}
        if self.plan.is_live and owners != {0}:
            self.say(
                f"warning: {script}, or a directory above it, belongs to another user than root, "
                "who can have root run anything by it"
            )

    def _link(self, program: str) -> str:
        return f"{self.plan.directory}/{program}"

    def _script(self, program: str) -> str:
        return f"{self.plan.scripts}/{program}"

    # In a tree, links lead to the same place seen from inside and from outside.
    def _target(self, program: str) -> str:
        script = self._script(program)
        return script if self.plan.is_live else os.path.relpath(script, self.plan.directory)

    def _may_replace(self, path: str) -> bool:
        place, program = self.record.at(path), Path(path).name
        if place.is_symlink() and os.readlink(place) == self._target(program):
            return True
        return path == self._script(program) or self.record.is_our_link(path)

    # Says a step, and takes it; the record, which is written before, knows of it.
    def _do(self, what: str, step: Callable[[], None]) -> None:
        self.say(what)
        if not self.plan.dry_run:
            self.record.write()
            step()

    def links(self) -> None:
        for program in PROGRAMS:
            path, target = self._link(program), self._target(program)
            place = self.record.at(path)
            if path == self._script(program):
                continue
            if place.is_symlink() and os.readlink(place) == target:
                continue
            self.record.links[path] = target
            self._do(f"link {place} to {target}", partial(link_whole, place, target))

    def configuration(self) -> None:
        if not self.record.at(CONFIGURATION).exists():
            self._write(CONFIGURATION, _data("bpfilter.conf"))

    def _write(self, path: str, data: bytes) -> None:
        place = self.record.at(path)
        self.record.add_file(path, data)
        self._do(f"write {place}", lambda: write_whole(place, data, 0o644))

    def service(self) -> None:
        """The boot service; what an administrator has changed in it stays."""
        if not self._has_systemd():
            self.say(
                "no systemd here: have your boot scripts run 'bpfilter restore --boot' before "
                "the network comes up"
            )
            return
        data = _data("bpfilter.service").replace(b"@BPFILTER@", self._script("bpfilter").encode())
        unit, wanted = self.record.at(UNIT), self.record.at(WANTED)
        if not unit.exists() or self.record.is_ours(UNIT):
            if not unit.exists() or unit.read_bytes() != data:
                self._write(UNIT, data)
        elif unit.read_bytes() != data:
            self.say(f"{unit} is not as we would write it; it stays as it is")
        if not os.path.lexists(wanted):
            self.record.links[WANTED] = "../bpfilter.service"
            self._do(
                f"enable bpfilter.service by {wanted}",
                lambda: link_whole(wanted, "../bpfilter.service"),
            )
            if self.plan.is_live:
                self._do("have systemd read its units again", reload_systemd)

    def _has_systemd(self) -> bool:
        if self.plan.is_live:
            return Path("/run/systemd/system").is_dir()
        return any((self.plan.root / path).exists() for path in SYSTEMD)

    def alternatives(self) -> None:
        groups = Alternatives(self.plan.root)
        if not groups.is_there():
            self._by_hand("there are no alternatives as Debian has them")
            return
        for name in COMMANDS:
            self._alternative(groups, name)

    def _alternative(self, groups: Alternatives, name: str) -> None:
        ours = self._link(f"{name}-bpf")
        group = groups.query(name)
        link = f"/usr/sbin/{name}" if group is None else group.link
        place = self.record.at(link)
        if place.exists() and not place.is_symlink():
            self._by_hand(f"{place} is no alternative")
            return
        if name not in self.record.alternatives:
            before = None if group is None else [group.status, group.value]
            self.record.alternatives[name] = before
        priority = PREFERRED if self.plan.select == "auto" else PRIORITY
        there = None if group is None else group.choices.get(ours)
        if there is None or (self.plan.select == "auto" and there != priority):
            slaves = self._slaves(name, link, group)
            self._do(
                f"register {ours} as an alternative for {name}, with priority {priority}",
                lambda: groups.install(link, name, ours, priority, slaves),
            )
        self._select(groups, name, ours, group)

    def _slaves(self, name: str, link: str, group: Group | None) -> dict[str, tuple[str, str]]:
        known = {} if group is None else group.slaves
        return {
            f"{name}-{verb}": (
                known.get(f"{name}-{verb}", f"{link}-{verb}"),
                self._link(f"{name}-bpf-{verb}"),
            )
            for verb in VERBS
        }

    def _select(self, groups: Alternatives, name: str, ours: str, group: Group | None) -> None:
        now = ("", "") if group is None else (group.status, group.value)
        if self.plan.select == "set" and now != ("manual", ours):
            self._do(f"have {name} be {ours}", lambda: groups.select(name, ours))
        elif self.plan.select == "auto" and now[0] != "auto":
            self._do(
                f"have {name} be the alternative of the highest priority",
                lambda: groups.automatic(name),
            )
        elif not self.plan.select and now[1] != ours:
            self.say(
                f"{name} stays {now[1] or 'what it is'}; 'bpfilter install --set' or "
                f"'update-alternatives --set {name} {ours}' changes that"
            )

    def _by_hand(self, why: str) -> None:
        self.say(
            f"{why}, so iptables stays what it is; to change that, put links of these names in a "
            "directory that comes first in PATH, such as /usr/local/sbin:"
        )
        for program in PROGRAMS:
            name = program.replace("-bpf", "")
            self.say(f"    ln -s {self._link(program)} /usr/local/sbin/{name}")


def reload_systemd() -> None:
    """Have systemd read its units; where it cannot, it does so at the next boot."""
    import subprocess

    try:
        subprocess.run(
            ["systemctl", "daemon-reload"], stdin=subprocess.DEVNULL, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def _data(name: str) -> bytes:
    return (Path(__file__).parent / "data" / name).read_bytes()
