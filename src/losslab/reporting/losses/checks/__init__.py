"""The test bench for a loss: what training asks of it, on small drawn data, on the CPU and in seconds."""
