"""The native stack: real servers and all services as supervised processes."""
