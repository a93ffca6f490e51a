"""What in docs/ is made from the code: `docs/generate.py` writes it, tests/docs sees that it is current."""
