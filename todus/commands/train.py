"""train.sh."""

import sys

from todus import command, training
from todus.commands import chosen_model, number


def main(_argv=None) -> int:
    model = chosen_model()
    training.train(
        model,
        training.Settings(
            num_steps=number("NUM_TRAIN_STEPS", int, None),
            batch_size=number("BATCH_SIZE", int, None),
            learning_rate=number("LEARNING_RATE", float, None),
            save_steps=number("SAVE_STEPS", int, 500),
            keep=number("KEEP", int, 5),
            log_steps=number("LOG_STEPS", int, 10),
        ),
        command.say,
    )
    print("next: export MODEL_DIR=%s && ./eval.sh && ./export.sh" % model.folder)
    return 0


if __name__ == "__main__":
    sys.exit(command.run("train", main))
