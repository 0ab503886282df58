"""Which images a batch was of."""

from typing import Dict, Iterable, List

from todus.dataset.records import reader
from todus.errors import TodusError
from todus.paths import Dataset


def named(dataset: Dataset, hashes: Iterable[int]) -> List[str]:
    """The train images whose source ids have these hashes (object_detection/inputs.py makes them), by file name, in the order of `hashes`.

    Two images may have one hash: both are named. One that is not found is left out.
    """
    wanted = list(dict.fromkeys(hashes))
    try:
        sources = {
            each.source_id: each.file_name or each.source_id
            for each in reader.read_examples(dataset, "train")
        }
    except TodusError:
        return []
    names: Dict[int, List[str]] = {}
    for source_id, identity in zip(sources, _hashes(list(sources))):
        names.setdefault(identity, []).append(sources[source_id])
    return [name for identity in wanted for name in names.get(identity, [])]


def _hashes(source_ids: List[str]) -> List[int]:
    from todus.tf import tf

    from object_detection import inputs

    with tf.Graph().as_default(), tf.Session(
        config=tf.ConfigProto(device_count={"GPU": 0})
    ) as session:
        return [
            int(each)
            for each in session.run(
                tf.string_to_hash_bucket_fast(tf.constant(source_ids), inputs.HASH_BINS)
            )
        ]
