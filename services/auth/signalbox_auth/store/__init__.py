"""All SQL of the auth service, one module for each noun.

Reads take a connection, writes the transaction that they are part of. Statements of the hot paths are built
once: putting one together takes longer than sending it.
"""
