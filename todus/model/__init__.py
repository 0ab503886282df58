"""The zoo's archives, pipeline.config and its options, class columns, the slice, checkpoints."""
