"""How a command gets to a repository elsewhere: to addresses that were looked at, with its credential."""
