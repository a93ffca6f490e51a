"""What to do, decided without I/O, clock or chance: pure functions over immutable values."""
