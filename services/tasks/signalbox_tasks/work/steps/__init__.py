"""The steps of a run: each looks what is there already, and then does what is left to do."""
