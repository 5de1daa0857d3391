"""What is served as bytes: logs, artifacts and attachments."""
