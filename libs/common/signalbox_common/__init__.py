"""What every Signalbox service shares, and nothing else."""

__version__ = "0.1.0"
