"""Make a text from outside safe for a terminal, a log line or a variable."""


def one_line(text: object, encoding: str = "utf-8") -> str:
    r"""Return a text as one line without control characters: what isn't printable is escaped.

    Args:
        text: a name, a message, or anything else from outside.
        encoding: that of the line's destination; characters it lacks are escaped too.

    >>> one_line("main\n\x1b[2J")
    'main\\n\\x1b[2J'
    """
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )
    return line.encode(encoding, "backslashreplace").decode(encoding)
