"""The demonstration: one ruleset, enforced here and by the kernel's iptables, counted alike.

    python -m demo [FILE …]

`measure` builds a lab and runs `scenario` through it, once with this project's eBPF
programs, once with iptables-legacy; `report` sets the two side by side.
"""
