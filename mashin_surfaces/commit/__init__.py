"""Group commit: the one way in which access rows (and, later, room events) reach the database."""

from .writer import CommitFailed, GroupCommit, Sink, close_writers, writer

__all__ = ["CommitFailed", "GroupCommit", "Sink", "close_writers", "writer"]
