"""The one kind of error that Todus raises for a person to read."""


class TodusError(Exception):
    """What is wrong, where, and what to do, in one line. Commands print it and exit with 1."""

    exit_code = 1


class UsageError(TodusError):
    """The command line or an environment variable is wrong. Commands exit with 2."""

    exit_code = 2
