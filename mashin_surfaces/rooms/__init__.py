"""Durable rooms: an ordered log with state and members, and its way to every socket."""
