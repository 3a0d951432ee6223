"""Panels: rooms with tools that change their state, one trigger after the other."""
