"""Runs: a machine's steps as a graph, executed once, durably, with gates for people."""
