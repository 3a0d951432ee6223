"""What happened at the doors: recorded before it is answered, chained, verifiable.

``record`` is given an ``Access``; ``verify`` walks the chains. Names are imported late, since the
models must be importable while Django loads the apps.
"""
