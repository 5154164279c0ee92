"""What stands in for the files beside the database: the owners' bytes, the bells and the reserve."""

from __future__ import annotations

from math import ceil

from workqueue.store.sqlite.reserve import SIZE

from prove.simulation.host import Host
from prove.simulation.stand_ins import Line


class Owners:
    """As `owners.Owners`: a byte is free when its holder let go of it, or is dead; a frozen one holds it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._process = host.process

    def hold(self, byte: int) -> bool:
        self._host.owners[byte] = self._process
        self._host.enlisted[byte] = self._host.now
        self._process.runners.add(byte)
        return True

    def release(self, byte: int) -> None:
        if self._host.owners.get(byte) is self._process:
            del self._host.owners[byte]

    def share(self) -> bool:
        return True

    def have_alone(self) -> bool:
        return False

    def is_dead(self, byte: int) -> bool:
        return self._host.is_dead(byte)

    def close(self) -> None:
        for byte in [byte for byte, process in self._host.owners.items() if process is self._process]:
            del self._host.owners[byte]


class Exchange:
    """As `bell.Exchange`: rings across processes may be lost, or come twice."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def ring(self, runner: int) -> None:
        bell = self._host.bells.get(runner)
        if isinstance(bell, Bell) and not self._host.is_dead(runner):
            for _ in range(self._host.faults.rings()):
                bell.ring()

    def remove(self, runner: int) -> None:
        self._host.bells.pop(runner, None)

    def close(self) -> None:
        pass


class Bell:
    """As `bell.SocketBell`."""

    def __init__(self, host: Host, runner: int) -> None:
        self._host = host
        self._runner = runner
        self._line = Line(host.scheduler)
        self._rung = False
        host.bells[runner] = self

    def ring(self) -> None:
        self._rung = True
        self._line.call()

    def wait(self, timeout: float) -> None:
        scheduler = self._host.scheduler
        if not self._rung:
            self._line.wait(scheduler.now + ceil(max(0.0, timeout) * 1000) * 1000)  # poll(2) counts milliseconds
        else:
            scheduler.sleep(1)
        self._rung = False

    def close(self) -> None:
        self._host.bells.pop(self._runner, None)


class Reserve:
    """As `reserve.Reserve`, of a disk that is full when the faults say so."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.size = SIZE

    def keep(self) -> None:
        if not self._host.faults.disk_is_full():
            self._host.faults.reserve_kept = True

    def release(self) -> bool:
        kept, self._host.faults.reserve_kept = self._host.faults.reserve_kept, False
        return kept

    def is_low(self) -> bool:
        return self._host.faults.disk_is_full()
