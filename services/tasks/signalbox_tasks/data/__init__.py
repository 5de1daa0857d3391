"""What is served as bytes: logs and artifacts."""
