"""Helpers as the machine has them, one module for each family; `services` is what they stand on."""
