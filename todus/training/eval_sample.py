"""The images that are scored while training, where these are not all of val: written once, as a dataset inside training/."""

import shutil
from typing import Iterator

from todus import files
from todus.dataset.records import reader, tfrecord
from todus.paths import Dataset, Model


def of(model: Model, dataset: Dataset, split: str, sample: int) -> Dataset:
    """A dataset with one of `sample` images of a split; of train, at most as many as of val. The whole one where that is the same.

    Raises:
      TodusError: no records of the split, or a damaged one.
    """
    if split == "val" and sample == 1:
        return dataset
    manifest = reader.read_manifest(dataset)
    step, most = sample, None
    if split == "train":
        counts = {
            name: max(1, manifest["splits"].get(name, {}).get("images", 1))
            for name in ("train", "val")
        }
        most = -(-counts["val"] // sample)
        step = max(1, counts["train"] // most)
    wanted = {"digest": manifest.get("digest"), "split": split, "step": step, "most": most}
    found = Dataset(model.training / ("sample-" + split))
    if found.manifest.exists() and files.read_json(found.manifest).get("sample") == wanted:
        return found
    with files.replacing_folder(found.folder) as folder:
        count = 0
        with (folder / ("%s.record-00000-of-00001" % split)).open("wb") as file:
            writer = tfrecord.Writer(file)
            for data in _every(dataset, split, step):
                if most is not None and count >= most:
                    break
                writer.write(data)
                count += 1
        shutil.copyfile(str(dataset.label_map), str(folder / dataset.label_map.name))
        entry = {split: {"images": count}}
        files.write_json(
            folder / dataset.manifest.name, dict(manifest, splits=entry, sample=wanted)
        )
    return found


def _every(dataset: Dataset, split: str, step: int) -> Iterator[bytes]:
    number = 0
    for path in dataset.shards(split):
        for record in tfrecord.scan(path):
            if number % step == 0:
                yield record.data
            number += 1
