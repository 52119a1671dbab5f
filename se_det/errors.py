"""The error that se_det raises for mistakes of its user."""


class UsageError(ValueError):
    """A mistake in a config, an argument or a file.

    The message says what was expected, what was found and what to type next; the command line
    tools print it alone, without a traceback.
    """


class ArgumentError(UsageError, AssertionError, KeyError, TypeError):
    """A wrong argument of a backbone.

    Code written for mmdet's backbones may catch what these raise: AssertionError, KeyError or
    TypeError.
    """

    __str__ = Exception.__str__  # KeyError shows the repr of its message


class Interrupted(Exception):
    """A signal ended the training.

    Args:
        message: what was saved, and how to continue.
        number: the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + number
