"""The one way in which a text from outside is made fit for a terminal, a log line or a variable."""


def one_line(text: object, encoding: str = "utf-8") -> str:
    r"""Return a text as one line that controls nothing: what isn't printable becomes an escape.

    Args:
        text: a name, a message, or anything else that somebody else chose.
        encoding: where the line goes; what it lacks becomes an escape too.

    >>> one_line("main\n\x1b[2J")
    'main\\n\\x1b[2J'
    """
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )
    return line.encode(encoding, "backslashreplace").decode(encoding)
