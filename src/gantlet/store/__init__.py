"""The run folder: JSON, JSON lines and safetensors, never pickle."""
