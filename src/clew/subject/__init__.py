"""A language model as a residual stream: Subject, and the Recording of one run."""

from clew.subject.recording import Recording
from clew.subject.subject import Subject

__all__ = ["Recording", "Subject"]
