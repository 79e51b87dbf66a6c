"""Run iptables rules as eBPF."""
