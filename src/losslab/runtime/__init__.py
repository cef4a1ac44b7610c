"""The machine that a run uses: devices, precision, cores, processes and random numbers."""
