"""The kernel tests on other Linux kernels: Debian's, in QEMU, by software emulation."""
