"""What native code and Python share of a CPU: an array of 64-bit words, by these indexes."""

from __future__ import annotations

MEM = 0  # where the machine's address 0 would be in this process
SHADOW = 1  # where the shadow byte of address 0 would be
SIZE = 2  # bytes of memory
BUDGET = 3  # instructions left of this slice, signed
STOP = 4  # not 0: the program ends; why
PC = 5  # the slot it ended at, or that asks for something
ADDRESS = 6  # of the access that failed; the register's value of gotox and callx
CALL = 7  # the function that calls Python
SP = 8  # r10 of the next function
LIMIT = 9  # the largest r10 there is
RETURN = 10  # r0 of the whole run; in between, not 0 says that this function is over
ARGS = 11  # five words: what a call of Python's is given
REGISTERS = 16  # eleven words, those still needed at the fault
ENTRY = 27  # five words: r1 to r5 at the start
NUMBER = 32  # of the CPU
SLOW, SPAN = 33, 34  # functions of the code that all programs share
WORDS = 35

STOP_FAULT, STOP_ERROR, STOP_STACK, STOP_GOTOX, STOP_TRAP = 1, 2, 3, 4, 5
