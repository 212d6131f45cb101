"""What all tests share: how many examples Hypothesis tries.

`HYPOTHESIS_PROFILE=deep tools/test` looks longer. Examples stay random in CI too, so that every run looks at
new ones; the blob that a failure prints brings its example back with `@reproduce_failure`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    settings(
        max_examples=100,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    ),
)
settings.register_profile("deep", settings(settings.get_profile("ci"), max_examples=5_000))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
