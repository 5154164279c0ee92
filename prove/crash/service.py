"""The queue that `workqueue run --processes 2` works for in the loop; imported only by its worker processes."""

from __future__ import annotations

import os

from prove.crash.part import SERVICE, decode
from prove.crash.programs import open_witness, work_queue

_part = decode(os.environ[SERVICE])
queue = work_queue(_part, open_witness(_part))
