"""Print who opens what to the trace pipe."""

import probee as bp


@bp.tracepoint("syscalls:sys_enter_openat")
def on_open(args):
    print(f"{bp.comm()} {bp.pid()} opens {bp.user_str(args.filename)}")
