"""Packets: headers as classes, and what programs do with them."""
