"""What the programs are called; nothing is imported for it, so that `signalbox status` is quick."""

SERVICES = ("gateway", "auth", "catalog", "tasks", "sandbox", "git")
OWNERS = SERVICES[1:]
"""The services that own data; the gateway owns none."""
FANOUT = "fanout"
"""The role of the gateway that carries events to it; a program and a user of its own."""
PROGRAMS = (*SERVICES, FANOUT)
