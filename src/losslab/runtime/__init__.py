"""The machine a run uses: devices, precision, cores, processes, and its random numbers."""
