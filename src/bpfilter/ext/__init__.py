"""Matches and targets, a module for each, imported when a rule first uses one.

A module holds one match or target, the match and the target of one name (`set.py`), or
targets that are variants of one thing (`nat.py`); `MODULES` lists all, and their names.
"""

from __future__ import annotations

import importlib
from functools import cache

#: module -> the iptables names it registers, matches in lower and targets in upper case.
MODULES: dict[str, str] = {
    "addrtype": "addrtype",
    "ah": "ah",
    "audit": "AUDIT",
    "bpf": "bpf",
    "cgroup": "cgroup",
    "checksum": "CHECKSUM",
    "classify": "CLASSIFY",
    "cluster": "cluster",
    "clusterip": "CLUSTERIP",
    "comment": "comment",
    "connbytes": "connbytes",
    "connlabel": "connlabel",
    "connlimit": "connlimit",
    "connmark": "connmark",
    "connsecmark": "CONNSECMARK",
    "conntrack": "conntrack",
    "cpu": "cpu",
    "ct": "CT NOTRACK",
    "dccp": "dccp",
    "devgroup": "devgroup",
    "dscp": "dscp",
    "dst": "dst",
    "ecn": "ecn",
    "esp": "esp",
    "eui64": "eui64",
    "frag": "frag",
    "hashlimit": "hashlimit",
    "hbh": "hbh",
    "helper": "helper",
    "hl": "hl",
    "hmark": "HMARK",
    "icmp": "icmp",
    "icmp6": "icmp6",
    "idletimer": "IDLETIMER",
    "ipcomp": "ipcomp",
    "iprange": "iprange",
    "ipv6header": "ipv6header",
    "ipvs": "ipvs",
    "led": "LED",
    "length": "length",
    "limit": "limit",
    "log": "LOG",
    "mac": "mac",
    "mark": "mark",
    "marking": "MARK CONNMARK",
    "mh": "mh",
    "multiport": "multiport",
    "nat": "SNAT DNAT MASQUERADE REDIRECT NETMAP",
    "nfacct": "nfacct",
    "nflog": "NFLOG",
    "nfqueue": "NFQUEUE",
    "npt": "SNPT DNPT",
    "osf": "osf",
    "owner": "owner",
    "physdev": "physdev",
    "pkttype": "pkttype",
    "policy": "policy",
    "quota": "quota",
    "rateest": "rateest RATEEST",
    "realm": "realm",
    "recent": "recent",
    "reject": "REJECT",
    "rewriting": "DSCP TOS TTL HL ECN",
    "rpfilter": "rpfilter",
    "rt": "rt",
    "sctp": "sctp",
    "secmark": "SECMARK",
    "set": "set SET",
    "socket": "socket",
    "srh": "srh",
    "state": "state",
    "statistic": "statistic",
    "string": "string",
    "synproxy": "SYNPROXY",
    "tcp": "tcp",
    "tcpmss": "tcpmss TCPMSS",
    "tcpoptstrip": "TCPOPTSTRIP",
    "tee": "TEE",
    "time": "time",
    "tos": "tos",
    "tproxy": "TPROXY",
    "trace": "TRACE",
    "ttl": "ttl",
    "u32": "u32",
    "udp": "udp",
    "udplite": "udplite",
    "ulog": "ULOG",
}


def load(kind: str, name: str) -> None:
    """Import the module that registers `name`, if there is one; `kind` is match or target."""
    module = _owners().get(name)
    if module is not None and name.isupper() == (kind == "target"):
        _import(module)


def names() -> frozenset[str]:
    """Give the names of all matches and targets, those that nothing here reads among them."""
    return frozenset(_owners())


def load_all() -> tuple[str, ...]:
    """Import every extension there is; gives their module names."""
    return tuple(module for module in MODULES if _import(module))


# False if the name is iptables', but nothing here reads it yet.
@cache
def _import(module: str) -> bool:
    path = f"{__name__}.{module}"
    try:
        importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return False
    return True


@cache
def _owners() -> dict[str, str]:
    return {name: module for module, names in MODULES.items() for name in names.split()}
