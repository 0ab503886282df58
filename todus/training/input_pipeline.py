"""Sizes of the training input's readers, shuffle buffer and batches, for the free memory."""

from typing import Any, Dict, List

from todus.model import pipeline

READER_BYTES = 8 * 1000 * 1000  # that the OD API buffers for each open shard
DECODED_PIXELS = 640 * 480  # of a COCO image, decoded to 3 bytes each
SHARE = 0.25  # of the free memory that the input may use
LEAST_SHUFFLE = 256


def fit(config: pipeline.Config, manifest: Dict[str, Any], free: int) -> List[str]:
    """Sets the sizes in train_input_reader; a value in pipeline.config is kept where it fits.

    Args:
      config: changed in place.
      manifest: of the dataset, for the size of its records.
      free: memory in bytes.

    Returns:
      A sentence for each value in pipeline.config that was reduced.
    """
    reader, batch = config.train_input_reader, max(1, config.train_config.batch_size)
    shards = (manifest.get("splits") or {}).get("train", {}).get("shards") or []
    examples = max(1, sum(shard["examples"] for shard in shards))
    record = max(1, sum(shard["bytes"] for shard in shards) // examples)
    budget = int(SHARE * free)
    notes: List[str] = []

    def set_size(field: str, most: int, least: int, default: int) -> None:
        wanted = getattr(reader, field) if reader.HasField(field) else default
        value = max(least, min(wanted, most))
        if reader.HasField(field) and value < wanted:
            values = (field, wanted, free / 1e9, value)
            notes.append("%s %d does not fit into %.1f GB of free memory; %d is used" % values)
        setattr(reader, field, value)

    set_size("num_readers", budget // 4 // READER_BYTES, 1, min(64, max(1, len(shards))))
    set_size("shuffle_buffer_size", budget // 4 // record, LEAST_SHUFFLE, 2048)
    height, width = pipeline.input_size(config) or (600, 1024)
    resized = 4 * 3 * height * width
    set_size("num_parallel_batches", budget // 2 // ((3 * DECODED_PIXELS + resized) * batch), 1, 8)
    set_size("num_prefetch_batches", budget // 4 // (resized * batch), 1, 4)
    return notes
