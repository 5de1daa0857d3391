"""What goes out of the sandboxes of a node: a role of its own, which alone is on a network.

`python -m signalbox_sandbox.egress`. Connections are accepted inside, by listeners that a keeper holds, and
handed over here with what their sandbox may reach. It has no credentials, and knows no bus and no database.
"""
