"""Makes a dataset of COCO, for dataset-complete.sh and dataset-limited.sh, whose headers list the environment variables."""

import contextlib
from typing import Dict, List, Optional, Tuple

from todus import __version__, categories, files, locks, paths, variables
from todus.command import Parser, say
from todus.dataset import choose, image_bytes
from todus.dataset.annotations import Annotations, Image, clean, tally
from todus.dataset.records import access, reader
from todus.dataset.records.writer import Content, write_dataset
from todus.dataset.sources import coco_annotations, coco_raw_data
from todus.dataset.sources.coco_settings import COMPLETE, LIMITED, Settings
from todus.dataset.summary import NEXT
from todus.errors import TodusError
from todus.fetching import transport
from todus.text import megabytes, table

MISSING = "not to be had from the server"

Missing = List[Tuple[Image, str]]  # images that the server does not have, and why


class Build:
    """One run of one of the two scripts."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.dataset = paths.mscoco_dataset(settings.name)
        self.raw = coco_raw_data.RawData(
            paths.raw_data(), settings.url, settings.policy, settings.connections
        )

    def run(self) -> None:
        if self._is_current():
            return self._say_current()
        with access.building(self.dataset), locks.exclusive(
            paths.raw_data(), str(paths.raw_data())
        ):
            self.raw.remove_temporary_files()
            known = self._known_classes()
            if known:
                self._wanted_classes(
                    known
                )  # an unknown class is refused before anything is downloaded
            for split in self.settings.splits:
                self.raw.fetch_annotations(split)
            if self._is_current():
                return self._say_current()
            self._build(self._known_classes())
        return None

    def _known_classes(self) -> Dict[int, str]:
        """id -> name of COCO's classes: those of the annotations on disk, else, for the public server, the bundled ones, else none."""
        for split in sorted(self.settings.splits, reverse=True):
            if self.raw.annotations(split).exists():
                return coco_annotations.read_categories(self.raw.annotations(split))
        return (
            categories.bundled("coco")
            if self.settings.url == variables.defaults("dataset-limited")["COCO_URL"]
            else {}
        )

    def _wanted_classes(self, known: Dict[int, str]) -> Dict[int, str]:
        """source id -> name of the classes to keep. Raises UsageError for an unknown one."""
        return (
            known
            if self.settings.kind == COMPLETE
            else categories.choose(self.settings.categories, known, "COCO")
        )

    def _inputs(self) -> Dict[str, str]:
        return {
            path.name: files.sha256(path)
            for path in map(self.raw.annotations, self.settings.splits)
        }

    def _is_current(self) -> bool:
        """Whether the dataset on disk is the one that would be made. The cheap tests come first."""
        if self.settings.stats_only or not self.dataset.manifest.exists():
            return False
        try:
            manifest = reader.read_manifest(self.dataset)
            settings, inputs = manifest["settings"], manifest["inputs"]
            shards = [
                (self.dataset.folder / shard["file"], shard["bytes"])
                for entry in manifest["splits"].values()
                for shard in entry["shards"]
            ]
            missing = {split: entry["missing"] for split, entry in manifest["splits"].items()}
        except (TodusError, KeyError, TypeError, AttributeError):
            return False
        known = self._known_classes()
        if (
            not known
            or manifest.get("todus") != __version__
            or settings != self.settings.recorded(self._wanted_classes(known))
        ):
            return False
        if (
            not all(path.is_file() and path.stat().st_size == size for path, size in shards)
            or not self.dataset.label_map.exists()
        ):
            return False
        if (
            all(self.raw.annotations(split).exists() for split in self.settings.splits)
            and inputs != self._inputs()
        ):
            return False
        return not self._any_available(missing)

    def _any_available(self, missing: Dict[str, List[str]]) -> bool:
        """Whether the server now has one of the images (split -> file names) that were missing."""
        if not any(missing.values()):
            return False
        with transport.session() as connection:
            for split, names in missing.items():
                for name in names:
                    with contextlib.suppress(TodusError, transport.RetryableError):
                        transport.get(
                            connection,
                            self.raw.image_url(split, Image(0, name, 1, 1)),
                            self.settings.policy,
                            method="HEAD",
                        ).close()
                        return True
        return False

    def _say_current(self) -> None:
        say("%s is up to date" % self.dataset.folder)
        print(NEXT % self.dataset.name)

    def _build(self, known: Dict[int, str]) -> None:
        settings = self.settings
        wanted = self._wanted_classes(known)
        chosen: Dict[str, Annotations] = {}
        plans: Dict[str, coco_raw_data.FetchPlan] = {}
        for split in settings.splits:
            found = clean(
                coco_annotations.read(
                    self.raw.annotations(split), known, set(wanted), settings.options.masks
                )
            )
            chosen[split] = choose.choose(
                found, settings.most_images[split], settings.negatives[split], settings.options.seed
            )
            absent = self.raw.locate(split, chosen[split].images)
            plans[split] = self.raw.plan_fetch(split, absent, len(found.images))
        self._print_counts(wanted, chosen, plans)
        if settings.stats_only:
            return
        if settings.kind == LIMITED and not any(
            image.boxes for each in chosen.values() for image in each.images
        ):
            raise TodusError("no image has a box of these classes; choose others")
        located = [
            image for each in chosen.values() for image in each.images if image.member or image.path
        ]
        self.raw.check_disk(
            sum(map(image_bytes.size, located)) + 2 * sum(plan.bytes for plan in plans.values())
        )
        missing = {
            split: self._fetch(split, chosen[split], plans[split]) for split in settings.splits
        }
        self._write(wanted, chosen, missing)

    def _fetch(self, split: str, chosen: Annotations, plan: coco_raw_data.FetchPlan) -> Missing:
        """Fetches the images of a plan; removes the missing ones from `chosen` and returns them."""
        missing = self.raw.fetch_images(
            split, plan, int(self.settings.most_missing * len(chosen.images))
        )
        for image, reason in missing:
            say("%s: cannot be had: %s: %s" % (split, image.file_name, reason))
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
            settings=self.settings.recorded(wanted),
            inputs=self._inputs(),
            extra={
                split: {"missing": sorted(image.file_name for image, _ in each)}
                for split, each in missing.items()
            },
        )
        manifest = write_dataset(
            self.dataset, content, self.settings.options, self.settings.most_dropped
        )
        for split, entry in manifest["splits"].items():
            size = megabytes(sum(shard["bytes"] for shard in entry["shards"]))
            say(
                "%s: %d images, %d boxes, %s in %d files"
                % (split, entry["images"], entry["boxes"], size, len(entry["shards"]))
            )
        if not self.settings.keep_raw:
            for split in self.settings.splits:
                self.raw.remove_images(split)
        print(NEXT % self.dataset.name)

    def _print_counts(
        self,
        wanted: Dict[int, str],
        chosen: Dict[str, Annotations],
        plans: Dict[str, coco_raw_data.FetchPlan],
    ) -> None:
        """Prints images and boxes of each class and the bytes to fetch: on stdout where only these were asked for, else on stderr."""
        write = print if self.settings.stats_only else say
        counts = {split: tally(each.images) for split, each in chosen.items()}
        totals = {
            split: (len(chosen[split].images), sum(boxes for _, boxes in each.values()))
            for split, each in counts.items()
        }
        empty = {
            split: (sum(not image.boxes for image in each.images), 0)
            for split, each in chosen.items()
        }
        rows = [
            (name, {split: counts[split].get(identity, (0, 0)) for split in counts})
            for identity, name in wanted.items()
        ]
        cells: List[List[object]] = [
            ["class"] + [heading for split in chosen for heading in ("%s images" % split, "boxes")]
        ]
        for name, row in rows + [("without these", empty), ("all", totals)]:
            cells.append([name] + [number for split in chosen for number in row[split]])
        for line in table(cells):
            write(line)
        for split, plan in plans.items():
            if plan.images:
                what = (
                    self.raw.archive(split).name if plan.archive else "%d images" % len(plan.images)
                )
                write("%s: to fetch: %s, about %s" % (split, what, megabytes(plan.bytes)))


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("dataset coco", __doc__)
    parser.add_argument("kind", choices=[COMPLETE, LIMITED])
    Build(Settings.from_environment(parser.parse_args(argv).kind)).run()
    return 0
