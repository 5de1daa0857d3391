"""Operations on repositories as they are written down, and how far git is with one."""
