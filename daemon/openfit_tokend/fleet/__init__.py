"""Daemons that share sessions by a store: what they write there, and how it is reached."""
