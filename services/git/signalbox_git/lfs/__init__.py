"""Files that LFS keeps: what stands for them in a commit, and how they are fetched."""
