"""Provisioning: credentials, roles, schemas, streams and consumers, from the contracts.

It only adds, knows its generation, and refuses to go back.
"""
