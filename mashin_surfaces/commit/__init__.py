"""Group commit: the one way in which access rows (and, later, room events) reach the database."""

from .work import CommitFailed, Companion, Sink
from .writer import GroupCommit, close_writers, writer

__all__ = ["CommitFailed", "Companion", "GroupCommit", "Sink", "close_writers", "writer"]
