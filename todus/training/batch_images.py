"""The file names of the images in a batch, from the hashes of their source ids."""

from typing import Dict, Iterable, List

from todus.dataset.records import reader
from todus.errors import TodusError
from todus.paths import Dataset


def file_names(dataset: Dataset, hashes: Iterable[int]) -> List[str]:
    """The file names of the train images whose source ids have these hashes, in their order.

    Two images may have the same hash: both are returned. An unknown hash is left out.
    """
    try:
        sources = {
            each.source_id: each.file_name or each.source_id
            for each in reader.read_examples(dataset, "train")
        }
    except TodusError:
        return []
    names: Dict[int, List[str]] = {}
    for hashed, name in zip(hashes_of(list(sources)), sources.values()):
        names.setdefault(hashed, []).append(name)
    return [name for hashed in dict.fromkeys(hashes) for name in names.get(hashed, [])]


def hashes_of(source_ids: List[str]) -> List[int]:
    """The hash of each source id, as object_detection/inputs.py computes it."""
    from todus.tf import tf

    from object_detection import inputs

    no_gpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=no_gpu) as session:
        hashes = tf.string_to_hash_bucket_fast(tf.constant(source_ids), inputs.HASH_BINS)
        return session.run(hashes).tolist()
