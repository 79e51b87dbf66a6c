"""The index: finds the first rule of a large chain that can match a packet.

Pruned tuple space search (V. Srinivasan, S. Suri, G. Varghese, "Packet Classification
using Tuple Space Search", SIGCOMM 1999), laid out flat in one array map. Bytes:
layout.py. Rules in: rows.py, build.py. The search: walk.py in Python, emit.py as eBPF.
One rule more or less, in place: edit.py.
"""
