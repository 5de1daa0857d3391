"""The keeper of a sandbox: the process that its programs live in, and on with, whoever else dies.

A role of the node, `python -m signalbox_sandbox.keeper`, is imported once and forks one keeper for each
sandbox. A keeper knows no bus, no database and no grants: nothing here needs more than the standard library.
"""
