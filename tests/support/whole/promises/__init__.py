"""The nine promises. Each function gives a complaint, or None where its sentence holds.

The formulas are written here a second time, on purpose: a mistake in the core's must not hide.
"""
