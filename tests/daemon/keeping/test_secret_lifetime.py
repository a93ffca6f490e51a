"""What refers to a secret is looked for in a whole process: so in one where no other test was."""

import subprocess
import sys
from pathlib import Path

import pytest

ALONE = Path(__file__).with_name("alone") / "secret_lifetime.py"
LIMIT = 4 * 2**30
"""Bytes of memory that looking for them may take."""


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="needs Python 3.11: in 3.12 gc.get_objects() gives freed objects of asyncio's, and crashes",
)
def test_secrets_are_let_go_of_as_soon_as_they_were_used() -> None:
    # Without what pytest remembers: names of tests may have the words of a secret in them.
    pytest_alone = (sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider")
    done = subprocess.run(
        ["prlimit", f"--as={LIMIT}", *pytest_alone, str(ALONE)],  # noqa: S607 -- util-linux's, wherever it is
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stdout
