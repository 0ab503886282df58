"""Trains the miniature zoo on drawn shapes and writes its two archives in the zoo's layout.

    python -m demo.train_zoo [--steps 3000] [--quantized-steps 400] [--images 8000]
                             [--out demo/zoo] [--work demo/out/zoo]

    OUT/ssd_mobilenet_v1_shapes.tar.gz            float
    OUT/ssd_mobilenet_v1_quantized_shapes.tar.gz  quantization-aware, trained from the float one

Both are ssd_mobilenet_v1 with depth multiplier 0.25, a 128x128 input and the eighteen classes of
demo/shapes.py. After an interruption the same command continues from the last checkpoint; it skips
finished parts. To start over, remove WORK. Stdout gets one line of JSON for each archive, with the
AP of every class.

On 2 shared cores: float 26 minutes, quantized 10, 1.7 GB of memory. On 300 val images of WORK (all
classes, score threshold 1e-8): float AP 0.602, AP50 0.903, 1.85 MB; quantized AP 0.605, AP50 0.904,
1.89 MB. Before its weights were rounded to 6 bits the float model had AP 0.606 and AP50 0.898.
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
SEED = 2026  # of the training images; not the demo's seed
VAL_IMAGES = 300
BATCH_SIZE = 32
WEIGHT_BITS = 6  # of a rounded convolution weight, sign included
NAMES = {shape.id: shape.name for shape in shapes.SHAPES}

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
    box_coder {
      faster_rcnn_box_coder { y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 }
    }
    matcher {
      argmax_matcher {
        matched_threshold: 0.5 unmatched_threshold: 0.5 ignore_thresholds: false
        negatives_lower_than_unmatched: true force_match_for_each_row: true use_matmul_gather: true
      }
    }
    similarity_calculator { iou_similarity { } }
    box_predictor {
      convolutional_box_predictor {
        conv_hyperparams { %(predictor)s }
        min_depth: 0 max_depth: 0 num_layers_before_predictor: 0
        use_dropout: false dropout_keep_probability: 0.8
        kernel_size: 1 box_code_size: 4
        apply_sigmoid_to_scores: false class_prediction_bias_init: -4.6
      }
    }
    anchor_generator {
      ssd_anchor_generator {
        num_layers: 6 min_scale: 0.25 max_scale: 0.95 aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333]
      }
    }
    post_processing {
      batch_non_max_suppression {
        score_threshold: 1e-8 iou_threshold: 0.6
        max_detections_per_class: 100 max_total_detections: 100
      }
      score_converter: SIGMOID
    }
    normalize_loss_by_num_matches: true
    loss {
      localization_loss { weighted_smooth_l1 { } }
      classification_loss { weighted_sigmoid_focal { gamma: 2.0 alpha: 0.75 } }
      classification_weight: 1.0 localization_weight: 1.0
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
          learning_rate_base: %(rate)s total_steps: %(steps)d
          warmup_learning_rate: %(warmup_rate)s warmup_steps: %(warmup_steps)d
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
    """Text of the archive's pipeline.config, with PATH_TO_BE_CONFIGURED as in the zoo's."""
    rewriter = "graph_rewriter { quantization { delay: 0 weight_bits: 8 activation_bits: 8 } }"
    return PIPELINE % {
        "num_classes": max(NAMES),
        "extractor": HYPERPARAMS % 0.09,
        "predictor": HYPERPARAMS % 0.03,
        "batch_size": BATCH_SIZE,
        "rate": rate,
        "steps": steps,
        "warmup_rate": rate / 10,
        "warmup_steps": min(200, steps // 10),
        "val_images": VAL_IMAGES,
        "rewriter": rewriter if quantized else "",
    }


def make_dataset(folder: Path, images: int) -> Dataset:
    """Draws the images and writes their records, unless the dataset exists."""
    dataset = Dataset(folder / "dataset")
    if dataset.manifest.exists():
        return dataset
    splits = {}
    for split, count in (("train", images), ("val", VAL_IMAGES)):
        out = folder / "images" / split
        out.mkdir(parents=True, exist_ok=True)
        drawn = shapes.drawn(split + "2017", count, seed=SEED)
        splits[split] = clean(Annotations(NAMES, [_image(each, out) for each in drawn]))
    writer.write_dataset(dataset, writer.Content("coco", splits, NAMES))
    return dataset


def _image(drawn: shapes.Drawn, folder: Path) -> Image:
    entry, boxes = drawn.image, []
    path = folder / entry["file_name"]
    path.write_bytes(drawn.jpeg)
    for each in drawn.annotations:
        x, y, width, height = each["bbox"]
        corners = (y, x, y + height, x + width)
        crowd = bool(each["iscrowd"])
        boxes.append(Box(each["category_id"], *corners, each["area"], crowd, id=each["id"]))
    return Image(entry["id"], path.name, entry["width"], entry["height"], boxes, path)


def train(folder: Path, text: str, dataset: Dataset, start: Optional[Path]) -> Path:
    """Trains in `folder` to the config's num_steps; returns the last checkpoint.

    Starts from the latest checkpoint of `folder`, else from `start`, else from random weights.
    """
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
    run_config = tf.estimator.RunConfig(
        str(folder),
        save_checkpoints_steps=200,
        keep_checkpoint_max=2,
        tf_random_seed=1,
        log_step_count_steps=None,
    )
    made = model_lib.create_estimator_and_inputs(
        run_config=run_config,
        hparams=model_hparams.create_hparams(None),
        pipeline_config_path=str(folder / "pipeline.config"),
        train_steps=steps,
    )
    hooks = [_progress_hook(tf, steps)]
    made["estimator"].train(made["train_input_fn"], max_steps=steps, hooks=hooks)
    return last


def _progress_hook(tf, steps: int, every: int = 50):
    class Progress(tf.train.SessionRunHook):
        def begin(self):
            loss = tf.get_default_graph().get_tensor_by_name("total_loss:0")
            self._values = [tf.train.get_global_step(), loss]

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
    """Rounds float32 convolution weights [height, width, in, out] to WEIGHT_BITS bits.

    They become multiples of a power of two, about 2^(WEIGHT_BITS - 1) up to the largest weight of
    an output channel. gzip compresses such a value to about a byte.
    """
    largest = np.maximum(np.abs(weights).max((0, 1, 2), keepdims=True), 1e-12)
    step = 2.0 ** np.round(np.log2(largest) - (WEIGHT_BITS - 1))
    return (np.round(weights / step) * step).astype(np.float32)


def round_checkpoint(source: Path, target: Path) -> None:
    """Copies a checkpoint without optimizer slots and with rounded convolution weights."""
    from todus.tf import tf

    reader = tf.train.load_checkpoint(str(source))
    with tf.Graph().as_default(), tf.Session() as session:
        for name in sorted(reader.get_variable_to_shape_map()):
            if not name.endswith("/Momentum"):
                value = reader.get_tensor(name)
                value = rounded(value) if value.ndim == 4 else value
                tf.Variable(value, name=name, dtype=value.dtype)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(target), write_meta_graph=False)


def pack(checkpoint: Path, text: str, name: str, out: Path, work: Path) -> Path:
    """Exports a checkpoint; writes OUT/NAME.tar.gz in the zoo's layout and returns its path."""
    from todus.tf import tf

    from object_detection import exporter

    exporter.profile_inference_graph = lambda graph: None  # would print hundreds of lines
    config = parsed(text)
    prefix = work / "rounded" / "model.ckpt"
    prefix.parent.mkdir(exist_ok=True)
    round_checkpoint(checkpoint, prefix)
    with files.replacing_folder(work / name) as folder:
        with tf.Graph().as_default():
            tf.keras.backend.set_learning_phase(0)
            exporter.export_inference_graph("image_tensor", config, str(prefix), str(folder))
        files.write_text(folder / "pipeline.config", pipeline.to_text(config))
        keys = ("model_checkpoint_path", "all_model_checkpoint_paths")
        state = "".join('%s: "model.ckpt"\n' % key for key in keys)
        files.write_text(folder / "checkpoint", state)
        categories.write_label_map(folder / "label_map.pbtxt", NAMES)
    target = out / (name + ".tar.gz")
    with files.replacing(target) as part:
        part.write_bytes(_tar(work / name))
    return target


def _tar(folder: Path) -> bytes:
    """A .tar.gz whose bytes depend only on the files' names and contents."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [folder] + sorted(folder.rglob("*")):
            entry = archive.gettarinfo(str(path), str(path.relative_to(folder.parent)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            entry.mode = 0o755 if path.is_dir() else 0o644
            content = path.read_bytes() if path.is_file() else b""
            archive.addfile(entry, io.BytesIO(content))
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write(plain.getvalue())
    return packed.getvalue()


def evaluate(work: Path, name: str, dataset: Dataset) -> Dict[str, float]:
    """COCO's AP of the frozen graph in WORK/NAME on the val records."""
    from todus.detection import frozen_graph
    from todus.evaluation import average_precision

    detector = frozen_graph.FrozenGraph(work / name / "frozen_inference_graph.pb", NAMES)
    return average_precision.evaluate(detector, dataset).as_dict()


def main(argv: Optional[List[str]] = None) -> int:
    parser = Parser("demo.train_zoo", __doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--quantized-steps", type=int, default=400)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=REPO / "demo" / "zoo")
    parser.add_argument("--work", type=Path, default=REPO / "demo" / "out" / "zoo")
    arguments = parser.parse_args(argv)
    work = Path(os.path.abspath(str(arguments.work)))
    models = ((FLOAT, arguments.steps, 0.08), (QUANTIZED, arguments.quantized_steps, 0.005))
    with locks.exclusive(work, "the training of the miniature zoo"):
        dataset = make_dataset(work, arguments.images)
        start = None
        for name, steps, rate in models:
            begun = time.time()
            text = pipeline_text(steps, rate, quantized=start is not None)
            start = train(work / ("training-" + name), text, dataset, start)
            archive = pack(start, text, name, arguments.out, work)
            result = evaluate(work, name, dataset)
            result.update(archive=archive.name, bytes=archive.stat().st_size)
            result["seconds"] = round(time.time() - begun)
            form = "%(archive)s: %(bytes)d bytes, AP %(ap).3f, AP50 %(ap50).3f, %(seconds)d s"
            say(form % result)
            print(json.dumps(result, sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run("demo.train_zoo", main))
