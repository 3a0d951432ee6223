"""Incubators: an event bus for agents, with state, claims, tools, control and a budget."""
