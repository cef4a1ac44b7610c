"""What a run costs the machine: load of CPU, memory, disk, network and GPUs, and energy where codecarbon is installed."""

import logging
import threading
from contextlib import suppress
from typing import Any

SAMPLING_INTERVAL_S = 10.0


class SystemMeter:
    """Samples the machine's load in the background, by MLflow's own monitors; no server is asked.

    MLflow's variables count: MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL, in seconds, and MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING,
    which ends all of it if it is false.
    """

    def __init__(self) -> None:
        from mlflow import environment_variables

        enabled: Any = environment_variables.MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
        interval_s: Any = environment_variables.MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._interval_s: float = interval_s.get() or SAMPLING_INTERVAL_S
        self._energy: Any = None
        self._monitors: list[Any] = []
        if not enabled.is_set() or enabled.get():
            self._monitors = _build_monitors()
            self.measure()  # the load of the CPU is that since it was asked last
            threading.Thread(target=self._sample, daemon=True).start()

    def measure(self) -> dict[str, float]:
        """Return the means since the last call, named as MLflow does, such as `system/cpu_utilization_percentage`."""
        means: dict[str, float] = {}
        with self._lock:
            for monitor in self._monitors:
                with suppress(Exception):  # any driver's
                    monitor.collect_metrics()
                    means |= {f"system/{key}": value for key, value in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
        return means

    def stop(self) -> dict[str, float]:
        """End all measuring, and return `energy_kwh`, of the whole machine since the begin, if codecarbon measured it."""
        self._ended.set()
        with self._lock:
            if self._energy is None:
                return {}
            tracker, self._energy = self._energy, None
        with suppress(Exception):
            tracker.stop()
            return {"energy_kwh": float(tracker.final_emissions_data.energy_consumed)}
        return {}

    def _sample(self) -> None:
        tracker = _start_codecarbon()
        with self._lock:
            self._energy = tracker
        while not self._ended.wait(self._interval_s):
            with self._lock, suppress(Exception):
                for monitor in self._monitors:
                    monitor.collect_metrics()
        self.stop()


def _build_monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    kinds: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor, ROCMMonitor]
    monitors = []
    for kind in kinds:
        with suppress(Exception):  # there is no such GPU, or its package is not installed
            monitors.append(kind())
    return monitors


def _start_codecarbon() -> Any | None:
    """Start to measure energy, without asking any server where this machine is; None if that cannot be done."""
    try:
        from codecarbon import OfflineEmissionsTracker  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    logging.getLogger("codecarbon").disabled = True
    with suppress(Exception):
        tracker = OfflineEmissionsTracker(save_to_file=False, allow_multiple_runs=True)
        tracker.start()
        return tracker
    return None
