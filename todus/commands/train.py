"""train.sh."""

import os
import shlex
import sys
from typing import Any, List, Optional

from todus import command, variables
from todus.commands import chosen_model, preflight
from todus.errors import UsageError
from todus.model import prepared
from todus.text import one_line
from todus.training import background, cluster, trainer
from todus.training.separate_evaluator import score_until_ended
from todus.training.settings import Scoring, Settings, apply, scoring_for

# Variables of this machine that all roles of a cluster get.
SETTINGS = ("NUM_TRAIN_STEPS", "BATCH_SIZE", "LEARNING_RATE", "SAVE_STEPS", "KEEP", "LOG_STEPS")
SETTINGS += ("EVAL_STEPS", "EVAL_SAMPLE", "EVAL_TRAIN", "TARGET_AP", "PATIENCE")


def settings() -> Settings:
    """The settings in the environment."""

    def value(name: str) -> Any:
        return variables.value(name, "train")

    target_ap = value("TARGET_AP")
    result = Settings(
        num_steps=value("NUM_TRAIN_STEPS"),
        batch_size=value("BATCH_SIZE"),
        learning_rate=value("LEARNING_RATE"),
        save_steps=value("SAVE_STEPS"),
        keep=value("KEEP"),
        log_steps=value("LOG_STEPS"),
        scoring=Scoring(value("EVAL_STEPS"), value("EVAL_SAMPLE"), value("EVAL_TRAIN")),
        separate=value("EVAL") == "separate",
        target_ap="" if target_ap is None else str(target_ap),
        patience=value("PATIENCE"),
        coco_negatives=value("COCO_NEGATIVES"),
        cache_bytes=value("CACHE_GB") * 1e9,
    )
    if (result.target_ap or result.patience) and result.scoring.every == 0:
        raise UsageError("TARGET_AP and PATIENCE need evaluations; EVAL_STEPS=0 makes none")
    return result


def parser() -> command.Parser:
    result = command.Parser("train", __doc__)
    action = result.add_mutually_exclusive_group()
    for name in ("background", "status", "stop", "log", "plot", "evaluator"):
        action.add_argument("--" + name, action="store_true")
    result.add_argument("--hosts", metavar="FILE")
    return result


def main(argv: Optional[List[str]] = None) -> int:
    arguments = parser().parse_args(argv)
    model = chosen_model()
    if arguments.status:
        print("\n".join(background.status(model)))
        return 0
    if arguments.stop:
        background.stop(model, command.say)
        return 0
    if arguments.log:
        background.follow(model, print)
        return 0
    if arguments.plot:
        from todus.training import curves

        print(curves.plot(model))
        return 0
    chosen = settings()
    if arguments.evaluator:  # the process that a training with EVAL=separate starts
        config = prepared.resolved(model)
        apply(model, config, chosen)
        score_until_ended(model, config, prepared.dataset_of(model), chosen, command.say)
        return 0
    hosts = cluster.read_hosts(arguments.hosts) if arguments.hosts else None
    if arguments.background or variables.value("BACKGROUND", "train"):
        more = ["--hosts", os.path.abspath(arguments.hosts)] if hosts else []
        background.start(model, more, command.say)
        return 0
    if hosts:
        shared = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
        code = cluster.Launcher(model, hosts, shared, command.say).run()
    else:
        check(model, chosen)
        trainer.train(model, chosen, command.say)
        code = 0
    if not cluster.role() or cluster.role().kind == "chief":
        folder = shlex.quote(str(model.folder))
        print("next: export MODEL_DIR=%s && ./eval.sh && ./export.sh" % folder)
    return code


def check(model, chosen: Settings) -> None:
    """Runs the checks that need no TensorFlow. Raises TodusError for a training that would fail."""
    config = prepared.resolved(model)
    apply(model, config, chosen)
    evaluates = bool(scoring_for(chosen, config.train_config.num_steps).every)

    def say(line: str) -> None:
        command.say("train: %s" % one_line(line))

    preflight.train(model, config, chosen.keep, evaluates, say)


if __name__ == "__main__":
    sys.exit(command.run("train", main))
