"""The images that are scored while training, where these are not all val images.

They are written once, as a dataset in training/sample-SPLIT/.
"""

import shutil
from itertools import chain, islice

from todus import files
from todus.dataset.records import example, reader, tfrecord
from todus.paths import Dataset, Model


def of(model: Model, dataset: Dataset, split: str, sample: int) -> Dataset:
    """A dataset with one in `sample` images of a split; of train, at most as many as of val.

    Raises TodusError when the split has no records, or a damaged one.
    """
    if split == "val" and sample == 1:
        return dataset
    manifest = reader.read_manifest(dataset)
    step, most = sample, None
    if split == "train":
        train, val = (
            max(1, manifest["splits"].get(name, {}).get("images", 1)) for name in ("train", "val")
        )
        most = -(-val // sample)
        step = max(1, train // most)
    wanted = {"digest": manifest.get("digest"), "split": split, "step": step, "most": most}
    found = Dataset(model.training / ("sample-" + split))
    if found.manifest.exists() and files.read_json(found.manifest).get("sample") == wanted:
        return found
    records = chain.from_iterable(map(tfrecord.scan, dataset.shards(split)))
    if manifest["splits"].get(split, {}).get("repeats"):
        records = (record for record in records if not example.decode(record.data).repeat)
    count = 0
    with files.replacing_folder(found.folder) as folder:
        with (folder / ("%s.record-00000-of-00001" % split)).open("wb") as file:
            writer = tfrecord.Writer(file)
            for record in islice(islice(records, 0, None, step), most):
                writer.write(record.data)
                count += 1
        shutil.copyfile(str(dataset.label_map), str(folder / dataset.label_map.name))
        about = dict(manifest, splits={split: {"images": count}}, sample=wanted)
        files.write_json(folder / dataset.manifest.name, about)
    return found
