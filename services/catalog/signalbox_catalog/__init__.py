"""The resources that describe agents."""
