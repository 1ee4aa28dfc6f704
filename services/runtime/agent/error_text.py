"""The words of an error that somebody else raised, as far as they can be sent. An agent's exceptions are its own: their
texts may be long, hold what no encoding can, quote a password, or not be had at all."""

from services.runtime.masking import masked_text

_LONGEST = 4_000  # characters
_LOOKED_AT = 100_000  # a secret that is cut in half has no shape: secrets go first, out of more than is sent


def text_of(error: BaseException) -> str:
    """The error's message."""
    try:
        text = str(error)
    except Exception as trouble:  # its own ``__str__`` failed
        text = f"a {type(error).__name__} that cannot be put into words: {type(trouble).__name__}"
    return sendable(text)


def sendable(text: object) -> str:
    """A text cut to length, without secrets and without what no encoding of text can hold."""
    return masked_text(str(text)[:_LOOKED_AT])[:_LONGEST].encode(errors="replace").decode()
