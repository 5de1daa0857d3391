"""The role that carries events from the stream into Redis, and takes in what others publish."""
