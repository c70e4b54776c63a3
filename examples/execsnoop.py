"""Who executes what, live."""
import probee as bp
from probee import u32, u64, Annotated

class Exec(bp.Struct):
    time_ns: u64
    pid: u32
    ppid: u32
    comm: Annotated[str, 16]
    filename: Annotated[str, 256]

execs = bp.RingBuf[Exec](256 * 1024)
runs = bp.Hash[u32, u64](10_240)

@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    task = bp.current_task()
    runs[task.real_parent.tgid] += 1
    with execs.reserve() as e:           # submitted at the end, skipped when the buffer is full
        e.time_ns = bp.ktime_get_ns()
        e.pid = args.pid
        e.ppid = task.real_parent.tgid   # a CO-RE chain, relocated on the machine it runs on
        e.comm = bp.comm()
        e.filename = args.filename

if __name__ == "__main__":
    with bp.attach() as session:         # compile, load, attach everything in this module
        for e in execs:                  # typed records; asyncio: `async for`
            print(f"{e.pid:<8} {e.ppid:<8} {e.comm:<16} {e.filename}")
