"""`python -m tools.supply_chain`: says what does not fit, and ends with 1 then."""

import sys
from pathlib import Path

from tools.supply_chain.installed import CHECKED, PACKAGES, here, problems

found = problems(Path("uv.lock"), CHECKED.get(here()))
for problem in found:
    print(problem)
if not found:
    print(f"{len(PACKAGES)} packages of servers are what they were when they were looked at")
sys.exit(1 if found else 0)
