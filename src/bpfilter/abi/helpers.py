"""BPF helper functions by number (include/uapi/linux/bpf.h, ___BPF_FUNC_MAPPER).

The comment gives the first kernel with the helper. Which program types may call it
is the kernel's business (the `*_func_proto` functions); the verifier says so.
"""

from __future__ import annotations

from enum import IntEnum


class Helper(IntEnum):
    """`BPF_FUNC_*`; the imm of a helper call."""

    MAP_LOOKUP_ELEM = 1  # 3.19: (map, key *) -> value * or 0
    MAP_UPDATE_ELEM = 2  # 3.19: (map, key *, value *, flags) -> 0 or -errno
    MAP_DELETE_ELEM = 3  # 3.19: (map, key *) -> 0 or -errno
    PROBE_READ = 4  # 4.1: (dst *, size, unsafe *) -> 0 or -errno
    KTIME_GET_NS = 5  # 4.1: () -> nanoseconds since boot, without suspend
    TRACE_PRINTK = 6  # 4.1: (format *, size, ...) -> length
    GET_PRANDOM_U32 = 7  # 4.1: () -> u32
    GET_SMP_PROCESSOR_ID = 8  # 4.1: () -> CPU number
    TAIL_CALL = 12  # 4.2: (ctx, prog array, index); does not return unless it fails
    REDIRECT = 23  # 4.4: (ifindex, flags) -> verdict
    PERF_EVENT_OUTPUT = 25  # 4.4: (ctx, map, flags, data *, size) -> 0 or -errno
    SKB_LOAD_BYTES = 26  # 4.5: (skb *, offset, to *, length) -> 0 or -errno
    REDIRECT_MAP = 51  # 4.14: (map, key, flags) -> verdict
    FIB_LOOKUP = 69  # 4.18: (ctx, params *, size, flags) -> BPF_FIB_LKUP_RET_*
    SPIN_LOCK = 93  # 5.1: (lock *)
    SPIN_UNLOCK = 94  # 5.1: (lock *)
    PROBE_READ_KERNEL = 113  # 5.5: (dst *, size, unsafe *) -> 0 or -errno
    JIFFIES64 = 118  # 5.6: () -> jiffies
    KTIME_GET_BOOT_NS = 125  # 5.8: () -> nanoseconds since boot, with suspend
    RINGBUF_OUTPUT = 130  # 5.8: (ringbuf, data *, size, flags) -> 0 or -errno
    RINGBUF_RESERVE = 131  # 5.8: (ringbuf, size, flags) -> record * or 0
    RINGBUF_SUBMIT = 132  # 5.8: (record *, flags)
    RINGBUF_DISCARD = 133  # 5.8: (record *, flags)
    KTIME_GET_COARSE_NS = 160  # 5.11: () -> nanoseconds at the last tick
    FOR_EACH_MAP_ELEM = 164  # 5.13: (map, callback, context *, flags) -> count
    LOOP = 181  # 5.17: (count, callback, context *, flags) -> iterations done
    MAP_LOOKUP_PERCPU_ELEM = 195  # 5.19: (map, key *, cpu) -> value * or 0
    KTIME_GET_TAI_NS = 208  # 6.1: () -> nanoseconds of TAI

    @property
    def kernel_name(self) -> str:
        """The name the kernel's own listings use, for example `map_lookup_elem`."""
        return self.name.lower()


#: Number to name, for listings; numbers not in the table print as `helper 42`.
HELPER_NAMES: dict[int, str] = {helper.value: helper.kernel_name for helper in Helper}
