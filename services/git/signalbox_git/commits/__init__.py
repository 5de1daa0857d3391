"""From a change set to a commit, without a work tree: what a sandbox has made is taken as hostile."""
