"""Trains the miniature zoo on drawn shapes and packs its two archives as the detection zoo packs its own.

    python -m demo.train_zoo [--steps 3000] [--quantized-steps 400] [--images 8000] [--out demo/zoo] [--work demo/out/zoo]

    OUT/ssd_mobilenet_v1_shapes.tar.gz                  float
    OUT/ssd_mobilenet_v1_quantized_shapes.tar.gz        quantization-aware, from the float one, with its FakeQuant ranges

Both are ssd_mobilenet_v1 with depth multiplier 0.25 and a 128x128 input that knows the eighteen classes of demo/shapes.py.
A killed run goes on where its last checkpoint was; what is done is not done again. Remove WORK to begin anew.

On 2 cores that others used as well: float 26 minutes, quantized 10, 1.7 GB of memory. On 300 val images of WORK (all classes, score
threshold 1e-8): float AP 0.602, AP50 0.903, 1.85 MB; quantized AP 0.605, AP50 0.904, 1.89 MB. Before its weights were rounded to
6 bits the float one had AP 0.606 and AP50 0.898. Each archive's line of JSON on stdout has the AP of every class.
"""

import gzip
import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from demo import shapes
from todus import categories, files, locks
from todus.command import REPO, Parser, run, say
from todus.dataset.annotations import Annotations, Box, Image, clean
from todus.dataset.records import writer
from todus.model import pipeline
from todus.paths import Dataset

FLOAT, QUANTIZED = "ssd_mobilenet_v1_shapes", "ssd_mobilenet_v1_quantized_shapes"
SEED = 2026  # of the training images; the demo draws with another
VAL_IMAGES = 300
BATCH_SIZE = 32
WEIGHT_BITS = 6  # of a packed convolution weight, sign included

HYPERPARAMS = """
  regularizer { l2_regularizer { weight: 4e-05 } }
  initializer { truncated_normal_initializer { mean: 0.0 stddev: %s } }
  activation: RELU_6
  batch_norm { decay: 0.97 center: true scale: true epsilon: 0.001 }
"""

PIPELINE = """
model {
  ssd {
    num_classes: %(num_classes)d
    image_resizer { fixed_shape_resizer { height: 128 width: 128 } }
    feature_extractor {
      type: "ssd_mobilenet_v1"
      depth_multiplier: 0.25
      min_depth: 16
      conv_hyperparams { %(extractor)s }
      override_base_feature_extractor_hyperparams: true
    }
    box_coder { faster_rcnn_box_coder { y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 } }
    matcher {
      argmax_matcher {
        matched_threshold: 0.5
        unmatched_threshold: 0.5
        ignore_thresholds: false
        negatives_lower_than_unmatched: true
        force_match_for_each_row: true
        use_matmul_gather: true
      }
    }
    similarity_calculator { iou_similarity { } }
    box_predictor {
      convolutional_box_predictor {
        conv_hyperparams { %(predictor)s }
        min_depth: 0
        max_depth: 0
        num_layers_before_predictor: 0
        use_dropout: false
        dropout_keep_probability: 0.8
        kernel_size: 1
        box_code_size: 4
        apply_sigmoid_to_scores: false
        class_prediction_bias_init: -4.6
      }
    }
    anchor_generator {
      ssd_anchor_generator {
        num_layers: 6
        min_scale: 0.25
        max_scale: 0.95
        aspect_ratios: 1.0
        aspect_ratios: 2.0
        aspect_ratios: 0.5
        aspect_ratios: 3.0
        aspect_ratios: 0.3333
      }
    }
    post_processing {
      batch_non_max_suppression {
        score_threshold: 1e-8
        iou_threshold: 0.6
        max_detections_per_class: 100
        max_total_detections: 100
      }
      score_converter: SIGMOID
    }
    normalize_loss_by_num_matches: true
    loss {
      localization_loss { weighted_smooth_l1 { } }
      classification_loss { weighted_sigmoid_focal { gamma: 2.0 alpha: 0.75 } }
      classification_weight: 1.0
      localization_weight: 1.0
    }
    encode_background_as_zeros: true
    normalize_loc_loss_by_codesize: true
    inplace_batchnorm_update: true
    freeze_batchnorm: false
  }
}
train_config {
  batch_size: %(batch_size)d
  data_augmentation_options { random_horizontal_flip { } }
  optimizer {
    momentum_optimizer {
      learning_rate {
        cosine_decay_learning_rate {
          learning_rate_base: %(rate)s
          total_steps: %(steps)d
          warmup_learning_rate: %(warmup_rate)s
          warmup_steps: %(warmup_steps)d
        }
      }
      momentum_optimizer_value: 0.9
    }
    use_moving_average: false
  }
  fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED/model.ckpt"
  from_detection_checkpoint: true
  num_steps: %(steps)d
  max_number_of_boxes: 20
  unpad_groundtruth_tensors: false
}
train_input_reader {
  label_map_path: "PATH_TO_BE_CONFIGURED/label_map.pbtxt"
  tf_record_input_reader { input_path: "PATH_TO_BE_CONFIGURED/train.record-?????-of-?????" }
}
eval_config {
  num_examples: %(val_images)d
  metrics_set: "coco_detection_metrics"
  use_moving_averages: false
}
eval_input_reader {
  label_map_path: "PATH_TO_BE_CONFIGURED/label_map.pbtxt"
  shuffle: false
  num_readers: 1
  tf_record_input_reader { input_path: "PATH_TO_BE_CONFIGURED/val.record-?????-of-?????" }
}
%(rewriter)s
"""


def pipeline_text(steps: int, rate: float, quantized: bool) -> str:
    """The archive's pipeline.config, with PATH_TO_BE_CONFIGURED where the zoo has it."""
    return PIPELINE % {
        "num_classes": max(shape.id for shape in shapes.SHAPES),
        "extractor": HYPERPARAMS % 0.09,
        "predictor": HYPERPARAMS % 0.03,
        "batch_size": BATCH_SIZE,
        "rate": rate,
        "steps": steps,
        "warmup_rate": rate / 10,
        "warmup_steps": min(200, steps // 10),
        "val_images": VAL_IMAGES,
        "rewriter": "graph_rewriter { quantization { delay: 0 weight_bits: 8 activation_bits: 8 } }"
        if quantized
        else "",
    }


def make_dataset(folder: Path, images: int) -> Dataset:
    """Draws the images and writes their records, unless that is done."""
    dataset = Dataset(folder / "dataset")
    if dataset.manifest.exists():
        return dataset
    names = {shape.id: shape.name for shape in shapes.SHAPES}
    splits = {}
    for split, count in (("train", images), ("val", VAL_IMAGES)):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        listed = [
            _image(each, folder / "images" / split)
            for each in shapes.drawn(split + "2017", count, seed=SEED)
        ]
        splits[split] = clean(Annotations(names, listed))
    writer.write_dataset(dataset, writer.Content("coco", splits, names))
    return dataset


def _image(drawn: shapes.Drawn, folder: Path) -> Image:
    path = folder / drawn.image["file_name"]
    path.write_bytes(drawn.jpeg)
    boxes = []
    for each in drawn.annotations:
        x, y, width, height = each["bbox"]
        boxes.append(
            Box(
                each["category_id"],
                y,
                x,
                y + height,
                x + width,
                each["area"],
                bool(each["iscrowd"]),
                id=each["id"],
            )
        )
    return Image(
        drawn.image["id"], path.name, drawn.image["width"], drawn.image["height"], boxes, path
    )


def train(folder: Path, text: str, dataset: Dataset, start: Optional[Path]) -> Path:
    """Trains to the config's num_steps in `folder`, from its latest checkpoint, else from `start`, else from scratch."""
    from todus.tf import tf

    from object_detection import model_hparams, model_lib

    config = parsed(text.replace("PATH_TO_BE_CONFIGURED", str(dataset.folder)))
    steps = config.train_config.num_steps
    config.train_config.fine_tune_checkpoint = str(start or "")
    config.train_config.load_all_detection_checkpoint_vars = True
    last = folder / ("model.ckpt-%d" % steps)
    if last.with_name(last.name + ".index").exists():
        return last
    files.write_text(folder / "pipeline.config", pipeline.to_text(config))
    made = model_lib.create_estimator_and_inputs(
        run_config=tf.estimator.RunConfig(
            model_dir=str(folder),
            save_checkpoints_steps=200,
            keep_checkpoint_max=2,
            tf_random_seed=1,
            log_step_count_steps=None,
        ),
        hparams=model_hparams.create_hparams(None),
        pipeline_config_path=str(folder / "pipeline.config"),
        train_steps=steps,
    )
    made["estimator"].train(
        made["train_input_fn"], max_steps=steps, hooks=[_progress_hook(tf, steps)]
    )
    return last


def _progress_hook(tf, steps: int, every: int = 50):
    class Progress(tf.train.SessionRunHook):
        def begin(self):
            self._values = [
                tf.train.get_global_step(),
                tf.get_default_graph().get_tensor_by_name("total_loss:0"),
            ]

        def before_run(self, _context):
            return tf.train.SessionRunArgs(self._values)

        def after_run(self, _context, values):
            step, loss = values.results
            if step % every == 0:
                say("%s step %d of %d: loss %.3f" % (time.strftime("%H:%M:%S"), step, steps, loss))

    return Progress()


def parsed(text: str) -> pipeline.Config:
    return pipeline.parse(text, "demo.train_zoo")


def rounded(weights: np.ndarray) -> np.ndarray:
    """Convolution weights [height, width, in, out] as multiples of a power of two, some 2^(WEIGHT_BITS - 1) to an output's largest.

    gzip presses such float32 values to about a byte.
    """
    largest = np.maximum(np.abs(weights).max((0, 1, 2), keepdims=True), 1e-12)
    step = 2.0 ** np.round(np.log2(largest) - (WEIGHT_BITS - 1))
    return (np.round(weights / step) * step).astype(np.float32)


def round_checkpoint(source: Path, target: Path) -> None:
    """Writes a checkpoint's variables, without optimizer slots, with convolutions' weights rounded."""
    from todus.tf import tf

    reader = tf.train.load_checkpoint(str(source))
    with tf.Graph().as_default(), tf.Session() as session:
        for name in sorted(reader.get_variable_to_shape_map()):
            if not name.endswith("/Momentum"):
                value = reader.get_tensor(name)
                tf.Variable(
                    rounded(value) if value.ndim == 4 else value, name=name, dtype=value.dtype
                )
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(target), write_meta_graph=False)


def pack(checkpoint: Path, text: str, name: str, out: Path, work: Path) -> Path:
    """Exports a checkpoint and writes OUT/NAME.tar.gz in the zoo's layout."""
    from todus.tf import tf

    from object_detection import exporter

    exporter.profile_inference_graph = lambda graph: None  # it prints hundreds of lines
    config = parsed(text)
    (work / "rounded").mkdir(exist_ok=True)
    round_checkpoint(checkpoint, work / "rounded" / "model.ckpt")
    with files.replacing_folder(work / name) as folder:
        with tf.Graph().as_default():
            tf.keras.backend.set_learning_phase(0)
            exporter.export_inference_graph(
                "image_tensor", config, str(work / "rounded" / "model.ckpt"), str(folder)
            )
        files.write_text(folder / "pipeline.config", pipeline.to_text(config))
        files.write_text(
            folder / "checkpoint",
            'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n',
        )
        categories.write_label_map(
            folder / "label_map.pbtxt", {shape.id: shape.name for shape in shapes.SHAPES}
        )
    target = out / (name + ".tar.gz")
    with files.replacing(target) as part:
        part.write_bytes(_tar(work / name))
    return target


def _tar(folder: Path) -> bytes:
    """A .tar.gz whose bytes depend on the files alone."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [folder] + sorted(folder.rglob("*")):
            entry = archive.gettarinfo(str(path), str(path.relative_to(folder.parent)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            entry.mode = 0o755 if path.is_dir() else 0o644
            if path.is_file():
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write(plain.getvalue())
    return packed.getvalue()


def evaluate(work: Path, name: str, dataset: Dataset) -> Dict[str, float]:
    """COCO's AP of an archive's frozen graph on the val records."""
    from todus.detection import frozen_graph
    from todus.evaluation import average_precision

    names = {shape.id: shape.name for shape in shapes.SHAPES}
    return average_precision.evaluate(
        frozen_graph.FrozenGraph(work / name / "frozen_inference_graph.pb", names), dataset
    ).as_dict()


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("demo.train_zoo", __doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--quantized-steps", type=int, default=400)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=REPO / "demo" / "zoo")
    parser.add_argument("--work", type=Path, default=REPO / "demo" / "out" / "zoo")
    arguments = parser.parse_args(argv)
    work = Path(os.path.abspath(str(arguments.work)))
    with locks.exclusive(work, "the training of the miniature zoo"):
        dataset = make_dataset(work, arguments.images)
        start = None
        for name, steps, rate in (
            (FLOAT, arguments.steps, 0.08),
            (QUANTIZED, arguments.quantized_steps, 0.005),
        ):
            begun = time.time()
            text = pipeline_text(steps, rate, quantized=start is not None)
            start = train(work / ("training-" + name), text, dataset, start)
            archive = pack(start, text, name, arguments.out, work)
            result = evaluate(work, name, dataset)
            result.update(
                archive=archive.name,
                bytes=archive.stat().st_size,
                seconds=round(time.time() - begun),
            )
            say(
                "%(archive)s: %(bytes)d bytes, AP %(ap).3f, AP50 %(ap50).3f, %(seconds)d s" % result
            )
            print(json.dumps(result, sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run("demo.train_zoo", main))
