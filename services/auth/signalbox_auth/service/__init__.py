"""The use cases of the auth service, one module for each noun."""
