"""Readers, shuffle buffer and parallel batches of the training input, for the memory that there is."""

import os
from typing import Any, Dict, List, Optional

from todus.model import pipeline

READER_BYTES = 8 * 1000 * 1000  # what the OD API buffers of each open shard
DECODED_PIXELS = 640 * 480  # of a COCO image, decoded to 3 bytes each
SHARE = 0.25  # of the free memory goes to the input
LEAST_SHUFFLE = 256


def fit(
    config: pipeline.Config, manifest: Dict[str, Any], free: int, cores: Optional[int] = None
) -> List[str]:
    """Sizes train_input_reader; what pipeline.config sets by hand is kept where it fits.

    Args:
      config: changed in place.
      manifest: of the dataset, for the size of its records.
      free: bytes of free memory.
      cores: default: this machine's.

    Returns:
      Sentences on what was set by hand and had to be made smaller.
    """
    cores = cores or os.cpu_count() or 1
    reader, batch = config.train_input_reader, max(1, config.train_config.batch_size)
    shards = (manifest.get("splits") or {}).get("train", {}).get("shards") or []
    examples = max(1, sum(shard["examples"] for shard in shards))
    record = max(1, sum(shard["bytes"] for shard in shards) // examples)
    budget = int(SHARE * free)
    notes: List[str] = []

    def settle(field: str, most: int, least: int, usual: int) -> None:
        wanted = getattr(reader, field) if reader.HasField(field) else usual
        value = max(least, min(wanted, most))
        if reader.HasField(field) and value < wanted:
            notes.append(
                "%s %d does not fit into %.1f GB of free memory; %d is taken"
                % (field, wanted, free / 1e9, value)
            )
        setattr(reader, field, value)

    settle("num_readers", budget // 4 // READER_BYTES, 1, min(64, max(1, len(shards))))
    settle("shuffle_buffer_size", budget // 4 // record, LEAST_SHUFFLE, 2048)
    height, width = pipeline.input_size(config) or (600, 1024)
    image = 3 * DECODED_PIXELS + 4 * 3 * height * width
    settle("num_parallel_batches", budget // 2 // (image * batch), 1, 8)
    settle("num_prefetch_batches", max(1, budget // 4 // (4 * 3 * height * width * batch)), 1, 4)
    return notes
