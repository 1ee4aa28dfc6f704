"""The words of an error that somebody else raised, as far as they can be sent. An agent's exceptions are its own: their
texts may be long, hold what no encoding can, or not be had at all."""

_LONGEST = 4_000  # characters


def text_of(error: BaseException) -> str:
    """The error's message."""
    try:
        text = str(error)
    except Exception as trouble:  # its own ``__str__`` failed
        text = f"a {type(error).__name__} that cannot be put into words: {type(trouble).__name__}"
    return sendable(text)


def sendable(text: object) -> str:
    """A text cut to length, without what no encoding of text can hold."""
    return str(text)[:_LONGEST].encode(errors="replace").decode()
