"""COCO to TFRecord shards: the work behind dataset-complete.sh and dataset-limited.sh, whose headers say what the environment sets."""

import contextlib
from typing import Dict, List, Optional, Tuple

from todus import __version__, categories, files, locks, paths
from todus.command import Parser, say
from todus.dataset import choose
from todus.dataset.annotations import Annotations, Image, clean, tally
from todus.dataset.records import access, reader, writer
from todus.dataset.sources import coco_annotations, coco_raw_data
from todus.dataset.sources.coco_settings import COMPLETE, DEFAULT_URL, LIMITED, Settings
from todus.errors import TodusError
from todus.fetching import transport
from todus.text import megabytes, one_line

NEXT = "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d %s"
MISSING = "not to be had from the server"

Lost = List[Tuple[Image, str]]  # images that cannot be had, and why


class Build:
    """One run of one of the two scripts."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.dataset = paths.mscoco_dataset(settings.name)
        self.raw = coco_raw_data.Raw(paths.raw_data(), settings.url, settings.policy, settings.connections)

    def run(self) -> None:
        if self._is_current():
            return self._say_current()
        with access.building(self.dataset), locks.exclusive(paths.raw_data(), str(paths.raw_data())):
            self.raw.sweep()
            known = self._known()
            if known:
                self._wanted(known)
            for split in self.settings.splits:
                self.raw.fetch_annotations(split)
            if self._is_current():
                return self._say_current()
            self._build(self._known())
        return None

    def _known(self) -> Dict[int, str]:
        """id -> name of COCO's classes: of the annotations on disk, else, for the public server, the bundled ones, else nothing."""
        for split in sorted(self.settings.splits, reverse=True):
            if self.raw.annotations(split).exists():
                return coco_annotations.read_categories(self.raw.annotations(split))
        return categories.bundled("coco") if self.settings.url == DEFAULT_URL else {}

    def _wanted(self, known: Dict[int, str]) -> Dict[int, str]:
        """source id -> name of the classes to keep. Raises UsageError for an unknown one."""
        return known if self.settings.kind == COMPLETE else categories.choose(self.settings.categories, known, "COCO")

    def _inputs(self) -> Dict[str, str]:
        return {path.name: files.sha256(path) for path in map(self.raw.annotations, self.settings.splits)}

    def _is_current(self) -> bool:
        """Whether the dataset is what would be made. The cheap questions come first."""
        if self.settings.stats_only or not self.dataset.manifest.exists():
            return False
        try:
            manifest = reader.read_manifest(self.dataset)
            settings, inputs = manifest["settings"], manifest["inputs"]
            shards = [
                (self.dataset.folder / shard["file"], shard["bytes"]) for entry in manifest["splits"].values() for shard in entry["shards"]
            ]
            missing = {split: entry["missing"] for split, entry in manifest["splits"].items()}
        except (TodusError, KeyError, TypeError, AttributeError):
            return False
        known = self._known()
        if not known or manifest.get("todus") != __version__ or settings != self.settings.recorded(self._wanted(known)):
            return False
        if not all(path.is_file() and path.stat().st_size == size for path, size in shards) or not self.dataset.label_map.exists():
            return False
        if all(self.raw.annotations(split).exists() for split in self.settings.splits) and inputs != self._inputs():
            return False
        return not self._has_come(missing)

    def _has_come(self, missing: Dict[str, List[str]]) -> bool:
        """Whether an image that could not be had can be had now."""
        if not any(missing.values()):
            return False
        with transport.session() as connection:
            for split, names in missing.items():
                for name in names:
                    with contextlib.suppress(TodusError, transport.Again):
                        transport.get(
                            connection, self.raw.image_url(split, Image(0, name, 1, 1)), self.settings.policy, method="HEAD"
                        ).close()
                        return True
        return False

    def _say_current(self) -> None:
        say("%s is up to date" % self.dataset.folder)
        print(NEXT % self.dataset.name)

    def _build(self, known: Dict[int, str]) -> None:
        settings = self.settings
        wanted = self._wanted(known)
        chosen: Dict[str, Annotations] = {}
        coming: Dict[str, coco_raw_data.Coming] = {}
        for split in settings.splits:
            found = clean(coco_annotations.read(self.raw.annotations(split), known, set(wanted), settings.options.masks))
            chosen[split] = choose.choose(found, settings.most_images[split], settings.negatives[split], settings.options.seed)
            absent = self.raw.locate(split, chosen[split].images)
            coming[split] = self.raw.coming(split, absent, len(found.images))
        self._show(wanted, chosen, coming)
        if settings.stats_only:
            return
        if settings.kind == LIMITED and not any(image.boxes for each in chosen.values() for image in each.images):
            raise TodusError("no image has a box of these classes; choose others")
        here = sum(coco_raw_data.bytes_here(image) for each in chosen.values() for image in each.images)
        self.raw.check_disk(here + 2 * sum(each.bytes for each in coming.values()))
        lost = {split: self._fetch(split, chosen[split], coming[split]) for split in settings.splits}
        self._write(wanted, chosen, lost)

    def _fetch(self, split: str, chosen: Annotations, coming: coco_raw_data.Coming) -> Lost:
        """Fetches what is coming; takes what cannot be had out of `chosen` and returns it."""
        lost = self.raw.fetch_images(split, coming, int(self.settings.most_missing * len(chosen.images)))
        for image, reason in lost:
            say("%s: cannot be had: %s: %s" % (split, image.file_name, reason))
        names = {image.file_name for image, _ in lost}
        chosen.images = [image for image in chosen.images if image.file_name not in names]
        if lost:
            chosen.dropped[MISSING] += len(lost)
        return lost

    def _write(self, wanted: Dict[int, str], chosen: Dict[str, Annotations], lost: Dict[str, Lost]) -> None:
        names = wanted if self.settings.kind == COMPLETE else categories.renumbered(wanted)
        say("writing %s" % self.dataset.folder)
        manifest = writer.write_dataset(
            self.dataset,
            "coco",
            chosen,
            names,
            dict(zip(sorted(wanted), sorted(names))),
            settings=self.settings.recorded(wanted),
            inputs=self._inputs(),
            options=self.settings.options,
            max_dropped=self.settings.most_dropped,
            extra={split: {"missing": sorted(image.file_name for image, _ in each)} for split, each in lost.items()},
        )
        for split, entry in manifest["splits"].items():
            size = megabytes(sum(shard["bytes"] for shard in entry["shards"]))
            say("%s: %d images, %d boxes, %s in %d files" % (split, entry["images"], entry["boxes"], size, len(entry["shards"])))
        if not self.settings.keep_raw:
            for split in self.settings.splits:
                self.raw.drop(split)
        print(NEXT % self.dataset.name)

    def _show(self, wanted: Dict[int, str], chosen: Dict[str, Annotations], coming: Dict[str, coco_raw_data.Coming]) -> None:
        """Images and boxes a class, and the bytes to come: on stdout when that is all that was asked for."""
        write = print if self.settings.stats_only else say
        counts = {split: tally(each.images) for split, each in chosen.items()}
        totals = {split: (len(chosen[split].images), sum(boxes for _, boxes in each.values())) for split, each in counts.items()}
        empty = {split: (sum(not image.boxes for image in each.images), 0) for split, each in chosen.items()}
        rows = [(one_line(name), {split: counts[split].get(identity, (0, 0)) for split in counts}) for identity, name in wanted.items()]
        write("%-20s" % "" + "".join("%12s images %8s boxes" % (split, "") for split in chosen))
        for name, row in rows + [("without these", empty), ("all", totals)]:
            write("%-20s" % name + "".join("%19d %14d" % row[split] for split in chosen))
        for split, each in coming.items():
            if each.images:
                what = self.raw.archive(split).name if each.archive else "%d images" % len(each.images)
                write("%s: to fetch: %s, about %s" % (split, what, megabytes(each.bytes)))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset coco", __doc__)
    parser.add_argument("kind", choices=[COMPLETE, LIMITED])
    Build(Settings.from_environment(parser.parse_args(argv).kind)).run()
    return 0
