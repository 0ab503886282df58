"""Makes a dataset of COCO, for dataset-complete.sh and dataset-limited.sh.

The headers of these scripts list the environment variables.
"""

import contextlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from todus import __version__, categories, files, locks, paths, variables
from todus.command import Parser, say
from todus.dataset import build, choose, image_bytes, negatives
from todus.dataset import settings as own_settings
from todus.dataset.annotations import Annotations, Image, clean, tally
from todus.dataset.records import access, reader
from todus.dataset.records.writer import Content, write_dataset
from todus.dataset.sources import coco_annotations, coco_raw_data
from todus.dataset.sources.coco_settings import COMPLETE, LIMITED, Settings
from todus.dataset.summary import NEXT, counted, left_out_lines
from todus.errors import TodusError
from todus.fetching import transport
from todus.text import megabytes, table

MISSING = "not available from the server"

Missing = List[Tuple[Image, str]]  # images that the server does not have, and the reason


class Build:
    """One run of dataset-complete.sh or dataset-limited.sh."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.dataset = paths.mscoco_dataset(settings.name)
        self.raw = coco_raw_data.RawData(paths.raw_data(), settings)

    def run(self) -> None:
        """Makes the dataset, unless it is up to date."""
        if self._is_current():
            self._print_up_to_date()
            return
        folder = self.raw.folder
        with access.building(self.dataset), locks.exclusive(folder, str(folder)):
            self.raw.remove_temporary_files()
            known = self._known_classes()
            if known:
                self._wanted_classes(known)  # raises for an unknown class before any download
            for split in self.settings.splits:
                self.raw.fetch_annotations(split)
            if self._is_current():
                self._print_up_to_date()
            else:
                self._build(self._known_classes())

    def _known_classes(self) -> Dict[int, str]:
        """id -> name of COCO's classes, from the annotations on disk, else from the bundled list.

        Empty without annotations for another server than the public one.
        """
        for split in sorted(self.settings.splits, reverse=True):
            if self.raw.annotations(split).exists():
                return coco_annotations.read_categories(self.raw.annotations(split))
        public = variables.defaults("dataset-limited")["COCO_URL"]
        return categories.bundled("coco") if self.settings.url == public else {}

    def _wanted_classes(self, known: Dict[int, str]) -> Dict[int, str]:
        """source id -> name of the classes to keep. Raises UsageError for an unknown one."""
        if self.settings.kind == COMPLETE:
            return known
        return categories.choose(self.settings.categories, known, "COCO")

    def _inputs(self) -> Dict[str, str]:
        annotations = map(self.raw.annotations, self.settings.splits)
        return {path.name: files.sha256(path) for path in annotations}

    def _recorded(self, wanted: Dict[int, str]) -> Dict[str, Any]:
        """The settings as in dataset.json, with a digest of the pictures of NEGATIVES."""
        recorded, folder = self.settings.recorded(wanted), self.settings.negatives_folder
        if folder:
            recorded["negatives_folder"] = build.fingerprint(negatives.files_of(folder))
        return recorded

    def _is_current(self) -> bool:
        """Whether the dataset on disk is the one that would be made. Cheap checks come first."""
        if self.settings.stats_only or not self.dataset.manifest.exists():
            return False
        try:
            manifest = reader.read_manifest(self.dataset)
            settings, inputs = manifest["settings"], manifest["inputs"]
            splits = manifest["splits"].items()
            shards = [
                (self.dataset.folder / shard["file"], shard["bytes"])
                for _, entry in splits
                for shard in entry["shards"]
            ]
            missing = {split: entry["missing"] for split, entry in splits}
        except (TodusError, KeyError, TypeError, AttributeError):
            return False
        known = self._known_classes()
        annotations = map(self.raw.annotations, self.settings.splits)
        return (
            bool(known)
            and manifest.get("todus") == __version__
            and settings == self._recorded(self._wanted_classes(known))
            and all(path.is_file() and path.stat().st_size == size for path, size in shards)
            and self.dataset.label_map.exists()
            and (not all(path.exists() for path in annotations) or inputs == self._inputs())
            and not self._any_available(missing)
        )

    def _any_available(self, missing: Dict[str, List[str]]) -> bool:
        """Whether the server now has one of the images (split -> file names) that were missing."""
        urls = [
            self.raw.image_url(split, Image(0, name, 1, 1))
            for split, names in missing.items()
            for name in names
        ]
        if not urls:
            return False
        with transport.session() as connection:
            for url in urls:
                with contextlib.suppress(TodusError, transport.RetryableError):
                    transport.get(connection, url, self.settings.policy, method="HEAD").close()
                    return True
        return False

    def _print_up_to_date(self) -> None:
        say("%s is up to date" % self.dataset.folder)
        print(NEXT % self.dataset.name)

    def _build(self, known: Dict[int, str]) -> None:
        settings = self.settings
        wanted = self._wanted_classes(known)
        chosen: Dict[str, Annotations] = {}
        plans: Dict[str, coco_raw_data.FetchPlan] = {}
        for split in settings.splits:
            path, options = self.raw.annotations(split), settings.options
            found = clean(coco_annotations.read(path, known, set(wanted), options.masks))
            chosen[split] = choose.choose(
                found, settings.most_images[split], settings.negatives[split], options.seed
            )
            absent = self.raw.locate(split, chosen[split].images)
            plans[split] = self.raw.plan_fetch(split, absent, len(found.images))
        self._print_counts(wanted, chosen, plans)
        if settings.stats_only:
            return
        images = [image for each in chosen.values() for image in each.images]
        if settings.kind == LIMITED and not any(image.boxes for image in images):
            raise TodusError("no image has a box of these classes; choose others")
        on_disk = sum(image_bytes.size(image) for image in images if image.member or image.path)
        self.raw.check_disk(on_disk + 2 * sum(plan.bytes for plan in plans.values()))
        missing = {split: self._fetch(split, chosen[split], plan) for split, plan in plans.items()}
        with build.work_folder(self.dataset) as work:
            if settings.negatives_folder:
                self._add_negatives(chosen, work)
            self._write(wanted, chosen, missing)

    def _add_negatives(self, chosen: Dict[str, Annotations], work: Path) -> None:
        """Adds the pictures of NEGATIVES to the splits; `work` is a folder for converted ones."""
        own = own_settings.Settings(
            negatives=self.settings.negatives_folder, seed=self.settings.options.seed
        )
        added = negatives.read(own, work, list(chosen))
        for line in left_out_lines(added.left_out):
            say(line)
        for split, more in added.images.items():
            chosen[split].images += more
            say("%s: %s of NEGATIVES" % (split, counted(len(more), "image")))

    def _fetch(self, split: str, chosen: Annotations, plan: coco_raw_data.FetchPlan) -> Missing:
        """Fetches the images of a plan; removes the missing ones from `chosen` and returns them."""
        most = int(self.settings.most_missing * len(chosen.images))
        missing = self.raw.fetch_images(split, plan, most)
        for image, reason in missing:
            say("%s: missing image: %s: %s" % (split, image.file_name, reason))
        names = {image.file_name for image, _ in missing}
        chosen.images = [image for image in chosen.images if image.file_name not in names]
        if missing:
            chosen.dropped[MISSING] += len(missing)
        return missing

    def _write(
        self, wanted: Dict[int, str], chosen: Dict[str, Annotations], missing: Dict[str, Missing]
    ) -> None:
        names = wanted if self.settings.kind == COMPLETE else categories.renumbered(wanted)
        say("writing %s" % self.dataset.folder)
        content = Content(
            source="coco",
            splits=chosen,
            names=names,
            id_map=dict(zip(sorted(wanted), sorted(names))),
            settings=self._recorded(wanted),
            inputs=self._inputs(),
            extra={
                split: {"missing": sorted(image.file_name for image, _ in each)}
                for split, each in missing.items()
            },
        )
        options, most_dropped = self.settings.options, self.settings.most_dropped
        manifest = write_dataset(self.dataset, content, options, most_dropped)
        for split, entry in manifest["splits"].items():
            size = megabytes(sum(shard["bytes"] for shard in entry["shards"]))
            counts = split, entry["images"], entry["boxes"], size, len(entry["shards"])
            say("%s: %d images, %d boxes, %s in %d files" % counts)
            if not self.settings.keep_raw:
                self.raw.remove_images(split)
        print(NEXT % self.dataset.name)

    def _print_counts(
        self,
        wanted: Dict[int, str],
        chosen: Dict[str, Annotations],
        plans: Dict[str, coco_raw_data.FetchPlan],
    ) -> None:
        """Prints images and boxes of each class and the bytes to fetch.

        They go to stdout with STATS_ONLY, else to stderr.
        """
        write = print if self.settings.stats_only else say
        rows: Dict[int, List[object]] = {identity: [name] for identity, name in wanted.items()}
        headings, empty, total = ["class"], ["without these"], ["all"]
        for split, each in chosen.items():
            headings += ["%s images" % split, "boxes"]
            counts = tally(each.images)
            for identity, row in rows.items():
                row += counts.get(identity, (0, 0))
            empty += [sum(not image.boxes for image in each.images), 0]
            total += [len(each.images), sum(boxes for _, boxes in counts.values())]
        for line in table([headings, *rows.values(), empty, total]):
            write(line)
        for split, plan in plans.items():
            if plan.images:
                archive, count = self.raw.archive(split).name, "%d images" % len(plan.images)
                what = archive if plan.archive else count
                write("%s: to fetch: %s, about %s" % (split, what, megabytes(plan.bytes)))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset coco", __doc__)
    parser.add_argument("kind", choices=[COMPLETE, LIMITED])
    Build(Settings.from_environment(parser.parse_args(argv).kind)).run()
    return 0
