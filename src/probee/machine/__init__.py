"""An `ObjectSpec` living in user space: memory, maps, helpers, contexts, interpreter, JIT."""
