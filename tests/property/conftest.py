"""How hypothesis is run: modestly, and always the same way in CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

settings.register_profile(
    "workqueue",
    deadline=None,  # other programs share the machine
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("unshrunk", settings.get_profile("workqueue"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("WORKQUEUE_HYPOTHESIS", "workqueue"))
