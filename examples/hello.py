"""The smallest program: print a line for each file that is opened. `sudo probee run examples/hello.py`"""

import probee as bp


@bp.tracepoint("syscalls:sys_enter_openat")
def hello(args):
    print(f"{bp.comm()} ({bp.pid()}) opens {args.filename}")
