"""The data plane: what goes straight to the sandboxes of a node, and comes from there."""
