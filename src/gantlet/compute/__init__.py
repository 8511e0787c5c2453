"""What work costs: floating point operations, critical path, clock, memory."""
