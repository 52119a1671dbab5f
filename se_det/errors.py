"""The error that se_det raises for mistakes of its user."""


class UsageError(ValueError):
    """A mistake in a config, an argument or a file.

    The message says what was expected, what was found and what to type next; the command line
    tools print it alone, without a traceback.
    """
