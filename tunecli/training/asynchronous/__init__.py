"""Asynchronous SGD: a parameter server, and gradients that are older than what they change.

`simulated.py` serves stored versions in one process; `remote.py` serves real workers. Both apply
what arrives at `server.py`, in the words of `messages.py`.
"""
