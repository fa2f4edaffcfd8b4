"""Every error that a user can cause, in one tree.

    ClewError
    ├── InputError              a prompt, target, option or configuration that cannot be used
    ├── FileError               a file or folder that is missing, truncated, foreign or newer than this program
    ├── UnsupportedModelError   an architecture whose linear steps are not known or do not reproduce the model
    ├── MismatchError           two things that do not belong together (a Dictionary and a Subject, a Graph and a Kit)
    └── RankError               another process of the same run that has ended or does not answer

The message is one line: the value seen, and what to do. The command line prints it and exits with code 2.
"""


class ClewError(Exception):
    """A mistake that the user can mend; the message says how."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class InputError(ClewError):
    """A prompt, target, option or configuration that cannot be used."""


class FileError(ClewError):
    """A file or folder that is missing, truncated, foreign or written by a newer schema."""


class UnsupportedModelError(ClewError):
    """An architecture whose linear steps are unknown, or do not reproduce the model."""


class MismatchError(ClewError):
    """Two objects that do not belong together, such as a Dictionary and a Subject of another width."""


class RankError(ClewError):
    """Another process of the same run has ended, or does not answer."""
