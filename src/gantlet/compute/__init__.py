"""Cost of computation: FLOPs, critical path, time, memory."""
