"""Where the kernel spends its time: sample every CPU 99 times a second and count kernel stacks."""

import time

import probee as bp
from probee import i64, u64

stacks = bp.StackTrace(4096)
samples = bp.Hash[i64, u64](4096)


@bp.perf_event(freq=99)
def sample():
    where = bp.kstack(stacks)
    if where >= 0:  # negative: the sample hit user space
        samples[where] += 1


if __name__ == "__main__":
    with bp.attach():
        time.sleep(3)
        for where, n in sorted(samples.items(), key=lambda item: -item[1])[:5]:
            print(f"{n} samples")
            for address in stacks[where]:
                print(f"    {address:#x}")
