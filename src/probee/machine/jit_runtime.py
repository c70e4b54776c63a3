"""Native code that all programs share: the exact test of an access, and the loop that repeats a program."""

from __future__ import annotations

from .jit_state import ARGS, CALL, SHADOW, SIZE
from .memory import BASE

RUNTIME = f"""
; Whether an access is allowed: 0 no, 1 yes, 2 reads 0 and writes nothing.
define i64 @slow(ptr %s, i64 %address, i64 %size, i64 %write) nounwind {{
  %shadow_at = getelementptr i8, ptr %s, i64 {8 * SHADOW}
  %shadow = load ptr, ptr %shadow_at
  %limit_at = getelementptr i8, ptr %s, i64 {8 * SIZE}
  %limit = load i64, ptr %limit_at
  %start = sub i64 %address, {BASE}
  %inside = icmp ult i64 %start, %limit
  br i1 %inside, label %look, label %ask
look:
  %g = lshr i64 %address, 3
  %p0 = getelementptr i8, ptr %shadow, i64 %g
  %p1 = getelementptr i8, ptr %p0, i64 1
  %b0 = load i8, ptr %p0
  %b1 = load i8, ptr %p1
  %shift = shl i64 %write, 2
  %shift8 = trunc i64 %shift to i8
  %n0s = lshr i8 %b0, %shift8
  %n1s = lshr i8 %b1, %shift8
  %n0 = and i8 %n0s, 15
  %n1 = and i8 %n1s, 15
  %low = and i64 %address, 7
  %need = add i64 %low, %size
  %need1 = sub i64 %need, 8
  %n1w = zext i8 %n1 to i64
  %spans = icmp ugt i64 %need, 8
  %full = icmp eq i8 %n0, 8
  %more = icmp uge i64 %n1w, %need1
  %both = and i1 %full, %more
  %n0w = zext i8 %n0 to i64
  %within = icmp uge i64 %n0w, %need
  %fine = select i1 %spans, i1 %both, i1 %within
  br i1 %fine, label %yes, label %ask
yes:
  ret i64 1
ask:
  %a0 = getelementptr i8, ptr %s, i64 {8 * ARGS}
  store i64 %address, ptr %a0
  %a1 = getelementptr i8, ptr %s, i64 {8 * (ARGS + 1)}
  store i64 %size, ptr %a1
  %a2 = getelementptr i8, ptr %s, i64 {8 * (ARGS + 2)}
  store i64 %write, ptr %a2
  %call_at = getelementptr i8, ptr %s, i64 {8 * CALL}
  %call = load ptr, ptr %call_at
  %r = call i64 %call(i64 -2)
  ret i64 %r
}}

; The same, and where around the address the same holds for 8 bytes from each byte on: from the second number
; on, as many bytes as the third says. Words of shadow bytes are compared, to 4 KiB ahead and 256 bytes back.
define {{i64, i64, i64}} @span(ptr %s, i64 %address, i64 %size, i64 %write) nounwind {{
  %answer = call i64 @slow(ptr %s, i64 %address, i64 %size, i64 %write)
  %yes = icmp eq i64 %answer, 1
  br i1 %yes, label %look, label %single
single:
  %one = insertvalue {{i64, i64, i64}} {{i64 0, i64 0, i64 0}}, i64 %answer, 0
  ret {{i64, i64, i64}} %one
look:
  %shadow_at = getelementptr i8, ptr %s, i64 {8 * SHADOW}
  %shadow = load ptr, ptr %shadow_at
  %g = lshr i64 %address, 3
  %here = getelementptr i8, ptr %shadow, i64 %g
  %byte = load i8, ptr %here
  %shift = shl i64 %write, 2
  %shift8 = trunc i64 %shift to i8
  %high = lshr i8 %byte, %shift8
  %count = and i8 %high, 15
  %full = icmp eq i8 %count, 8
  br i1 %full, label %scan, label %single
scan:
  %wide = zext i8 %byte to i64
  %pattern = mul i64 %wide, {0x0101010101010101}
  br label %ahead
ahead:
  %n = phi i64 [0, %scan], [%n8, %ahead]
  %np = getelementptr i8, ptr %here, i64 %n
  %nw = load i64, ptr %np, align 1
  %nx = xor i64 %nw, %pattern
  %same = icmp eq i64 %nx, 0
  %n8 = add i64 %n, 8
  %near = icmp ult i64 %n8, 512
  %more = and i1 %same, %near
  br i1 %more, label %ahead, label %ahead_end
ahead_end:
  %zeros = call i64 @llvm.cttz.i64(i64 %nx, i1 false)
  %bytes = lshr i64 %zeros, 3
  %forward = add i64 %n, %bytes
  br label %back
back:
  %m = phi i64 [0, %ahead_end], [%m8, %back]
  %m8 = add i64 %m, 8
  %mi = sub i64 0, %m8
  %mp = getelementptr i8, ptr %here, i64 %mi
  %mw = load i64, ptr %mp, align 1
  %mx = xor i64 %mw, %pattern
  %msame = icmp eq i64 %mx, 0
  %mnear = icmp ult i64 %m8, 32
  %mmore = and i1 %msame, %mnear
  br i1 %mmore, label %back, label %back_end
back_end:
  %mzeros = call i64 @llvm.ctlz.i64(i64 %mx, i1 false)
  %mbytes = lshr i64 %mzeros, 3
  %backward = add i64 %m, %mbytes
  %first = sub i64 %g, %backward
  %low = shl i64 %first, 3
  %granules = add i64 %forward, %backward
  %length = shl i64 %granules, 3
  %limit = sub i64 %length, 7
  %pair = insertvalue {{i64, i64, i64}} {{i64 1, i64 0, i64 0}}, i64 %low, 1
  %triple = insertvalue {{i64, i64, i64}} %pair, i64 %limit, 2
  ret {{i64, i64, i64}} %triple
}}

; A program many times over: for measurements, and tests that run a program a million times.
define i64 @repeat(ptr %s, ptr %program, i64 %times) nounwind {{
  br label %loop
loop:
  %n = phi i64 [0, %0], [%n1, %next]
  %stop = call i64 %program(ptr %s)
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %out, label %next
next:
  %n1 = add i64 %n, 1
  %over = icmp uge i64 %n1, %times
  br i1 %over, label %out, label %loop
out:
  ret i64 %stop
}}

declare i64 @llvm.cttz.i64(i64, i1 immarg)
declare i64 @llvm.ctlz.i64(i64, i1 immarg)
"""
