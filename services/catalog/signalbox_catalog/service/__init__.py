"""What can be done with resources; each use case owns its transaction."""
