"""What the kernel does for programs: helpers, kernel functions, timers, locks, objects, dynptrs, arenas."""
