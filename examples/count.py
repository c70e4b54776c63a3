"""Count system calls by program for five seconds, and read the map as a mapping and as a NumPy array."""

import time

import probee as bp
from probee import Annotated, u32, u64


class Program(bp.Struct):
    uid: u32
    comm: Annotated[str, 16]


calls = bp.Hash[Program, u64](4096)


@bp.tp_btf("sys_enter")
def count():
    calls[Program(uid=bp.uid(), comm=bp.comm())] += 1


if __name__ == "__main__":
    with bp.attach():
        time.sleep(5)
        for program, n in sorted(calls.items(), key=lambda item: -item[1])[:10]:
            print(f"{program.comm:<16} {program.uid:>6} {n:>8}")
        table = calls.to_numpy()
        print(f"{table['value'].sum()} calls by {len(table)} programs")
