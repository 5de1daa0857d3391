"""Real forges for the proofs: Gitea, a simulator of GitHub, and what GitHub says of its own API."""
