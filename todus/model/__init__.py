"""The zoo's archives, options patched into pipeline.config, class columns and their slice, checkpoints."""
