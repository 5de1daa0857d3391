"""Trees: the files of one commit with a git directory of its own, as sandboxes begin with them."""
