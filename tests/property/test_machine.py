"""Both engines tell one history, whatever is drawn; `python -m prove run` plays more of them."""

from hypothesis import settings
from prove.model.machine import TwoEngines

TwoEngines.TestCase.settings = settings(settings.default, max_examples=50, stateful_step_count=30)
test_both_engines_tell_one_history = TwoEngines.TestCase
