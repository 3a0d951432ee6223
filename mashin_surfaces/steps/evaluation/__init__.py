"""What expressions mean: a syntax tree compiled once into Python closures, run with a budget.

``compile_node`` makes the function, ``Scope`` is what it sees, ``EvaluationError`` is how it
fails. Nothing here has an effect: time and chance come from the scope.
"""

from .compiler import compile_node
from .scope import MAX_CALLS, MAX_DATA, MAX_OPERATIONS, EvaluationError, Scope

__all__ = [
    "MAX_CALLS",
    "MAX_DATA",
    "MAX_OPERATIONS",
    "EvaluationError",
    "Scope",
    "compile_node",
]
