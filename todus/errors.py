"""The errors that Todus raises for the user."""


class TodusError(Exception):
    """One line: what is wrong, where, and what to type. Commands print it and exit with code 1."""

    exit_code = 1


class UsageError(TodusError):
    """The command line or an environment variable is wrong. Commands exit with code 2."""

    exit_code = 2
