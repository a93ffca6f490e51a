"""Fuzzing of the protocol: what a hostile client may send, against a real daemon's process."""
