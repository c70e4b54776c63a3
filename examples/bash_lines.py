"""What people type into bash, by a probe on a function of bash itself."""

import probee as bp
from probee import Annotated, u32


class Line(bp.Struct):
    pid: u32
    text: Annotated[str, 200]


lines = bp.RingBuf[Line](64 * 1024)


@bp.uretprobe("/bin/bash", "readline")
def on_readline(text):
    if text:  # NULL at the end of input
        with lines.reserve() as e:
            e.pid = bp.pid()
            e.text = bp.user_str(text)


if __name__ == "__main__":
    with bp.attach():
        for e in lines:
            print(f"{e.pid:>7} {e.text}")
