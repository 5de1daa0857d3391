"""What sandboxes are made of: one adapter for each kind."""
