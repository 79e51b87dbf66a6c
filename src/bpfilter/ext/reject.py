"""`-j REJECT`: drop the packet and answer it (libipt_REJECT.c, libip6t_REJECT.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import need_protocol, need_table

# The answers with their second names, in the order in which a name that is cut short is looked up.
_ANSWERS = {
    Family.IPV4: {
        "icmp-net-unreachable": "net-unreach",
        "icmp-host-unreachable": "host-unreach",
        "icmp-proto-unreachable": "proto-unreach",
        "icmp-port-unreachable": "port-unreach",
        "icmp-net-prohibited": "net-prohib",
        "icmp-host-prohibited": "host-prohib",
        "tcp-reset": "tcp-rst",
        "icmp-admin-prohibited": "admin-prohib",
    },
    Family.IPV6: {
        "icmp6-no-route": "no-route",
        "icmp6-adm-prohibited": "adm-prohibited",
        "icmp6-addr-unreachable": "addr-unreach",
        "icmp6-port-unreachable": "port-unreach",
        "tcp-reset": "tcp-reset",
        "icmp6-policy-fail": "policy-fail",
        "icmp6-reject-route": "reject-route",
    },
}
_DEFAULT = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}
_TCP = 6


@target("REJECT")
@dataclass(frozen=True, slots=True)
class Reject(Target):
    """`answer` is the full name iptables-save prints."""

    answer: str

    OPTIONS = (Option("--reject-with", "type", "the answer, such as tcp-reset"),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "REJECT", "filter")
        use = given.get("--reject-with")
        if use is None:
            return cls(_DEFAULT[context.family])
        word = use.value.lower()
        for name, alias in _ANSWERS[context.family].items():
            if name.startswith(word) or alias.startswith(word):
                break
        else:
            known = ", ".join(_ANSWERS[context.family])
            fail(f'unknown reject type "{use.value}"', use, f"one of {known}")
        if name == "tcp-reset":
            need_protocol(given, context, "REJECT --reject-with tcp-reset", _TCP)
        return cls(name)

    def format(self, family: Family) -> list[str]:
        return ["--reject-with", self.answer]

    def describe(self, family: Family) -> str:
        return f"reject-with {self.answer}"
