"""The same work in other systems, run with packages of their own: never imported from here."""
