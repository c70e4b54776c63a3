"""Record and replay: programs run in the kernel with all they read kept, and run again in the machine."""
