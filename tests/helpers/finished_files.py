"""Small TFLite detectors of any number of classes, of every kind that converters write."""

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from todus.slicing import tflite_schema as schema

SIZE, CHANNELS, ANCHORS = 8, 4, 3
MAPS = (4, 2)  # feature maps of 4x4 and 2x2, with ANCHORS each
OPERATOR = "TFLite_Detection_PostProcess"
_INT8 = {"CONV_2D": 3, "LOGISTIC": 2, "CONCATENATION": 2, "DEQUANTIZE": 2, "AVERAGE_POOL_2D": 2}
_TYPES = {"f4": 0, "f2": 1, "i4": 2, "u1": 3, "i1": 9}


class Builder:
    """Builds a .tflite file operator by operator."""

    def __init__(self, kind):
        self.kind = kind
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.model.buffers = [schema.BufferT()]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, shape, data=None, dtype=None, scale=None, zero=0, axis=0):
        dtype = dtype or {"uint8": "u1", "int8": "i1"}.get(self.kind, "f4")
        tensor = schema.TensorT()
        tensor.name = "tensor_%d" % len(self.graph.tensors)
        tensor.shape, tensor.type = np.array(shape, np.int32), _TYPES[dtype]
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(np.float32(scale))
            tensor.quantization.zeroPoint = np.full(np.size(scale), zero, np.int64)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def activation(self, shape, scale=0.1, zero=None):
        if self.kind not in ("uint8", "int8"):
            return self.tensor(shape, dtype="f4")
        zero = (128 if self.kind == "uint8" else 0) if zero is None else zero
        return self.tensor(shape, scale=scale, zero=zero)

    def operator(self, name, inputs, outputs, options=None, custom=None):
        number = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = number, _INT8.get(name, 1) if self.kind == "int8" else 1
        code.deprecatedBuiltinCode = min(number, 127)
        if number == schema.BuiltinOperator.CUSTOM:
            code.customCode, code.version = name, 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.int32(inputs), np.int32(outputs)
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__[:-1]
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        if custom is not None:
            operator.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(custom)), np.uint8)
        self.graph.operators.append(operator)
        return outputs[0]

    def convolution(self, given, outputs, random, weights=None):
        """A 1x1 convolution; `weights` shares those of another. Returns (output, weights)."""
        shape = list(self.graph.tensors[given].shape)[:3] + [outputs]
        if weights is None:
            weights = self.weights(outputs, int(self.graph.tensors[given].shape[3]), random)
        out = self.activation(shape)
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        self.operator("CONV_2D", [given, *weights], [out], options)
        return out, weights

    def weights(self, outputs, shape_in, random):
        values = random.normal(0, 1, (outputs, 1, 1, shape_in))
        bias = random.normal(-1, 1, outputs)
        if self.kind == "float16":
            pair = []
            for content in (values, bias):
                half = self.tensor(content.shape, content, "f2")
                pair.append(self.tensor(content.shape, dtype="f4"))
                self.operator("DEQUANTIZE", [half], [pair[-1]], schema.DequantizeOptionsT())
            return pair
        if self.kind not in ("uint8", "int8"):
            return [self.tensor(values.shape, values), self.tensor([outputs], bias, "f4")]
        per_channel = self.kind == "int8"
        scale = random.uniform(0.02, 0.03, outputs if per_channel else 1)
        zero = 0 if per_channel else 120
        full = np.round(values / scale.reshape(-1, 1, 1, 1)) + zero
        limits = (-127, 127) if per_channel else (0, 255)
        return [
            self.tensor(values.shape, np.clip(full, *limits), scale=scale, zero=zero),
            self.tensor([outputs], np.round(bias / (scale * 0.1)), "i4", scale=scale * 0.1),
        ]

    def reshape(self, given, shape, minus=None):
        asked = list(shape)
        if minus is not None:
            asked[minus] = -1
        options = schema.ReshapeOptionsT()
        options.newShape = np.int32(asked)
        place = self.tensor([len(shape)], asked, "i4")
        out = self.like(given, shape)
        return self.operator("RESHAPE", [given, place], [out], options)

    def like(self, given, shape):
        tensor = self.graph.tensors[given]
        out = self.activation(shape)
        self.graph.tensors[out].quantization = tensor.quantization
        return out

    def concat(self, parts, shape):
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        out = self.like(parts[0], shape)
        return self.operator("CONCATENATION", parts, [out], options)

    def bytes(self):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def detector(kind="float", classes=7, background=True, shared=False, operator=True, **options):
    """The bytes of a detector with two feature maps.

    Args:
      kind: float, float16, uint8, or int8 with a scale a channel.
      classes: without the background.
      background: whether the scores begin with one.
      shared: whether the feature maps share the class predictor's weights.
      operator: whether it ends in the post-process operator, else in boxes and scores.
      options: of the post-process operator.
    """
    build, random = Builder(kind), np.random.RandomState(3)
    scale, columns = 0.1, classes + background
    image = build.activation([1, SIZE, SIZE, 3], scale)
    boxes, scores, weights, given = [], [], None, image
    for number, side in enumerate(MAPS):
        depth = CHANNELS
        stride = schema.Pool2DOptionsT()
        stride.strideH = stride.strideW = stride.filterHeight = stride.filterWidth = 2
        pooled = build.activation([1, side, side, 3 if number == 0 else depth], scale)
        build.operator("AVERAGE_POOL_2D", [given], [pooled], stride)
        given, _ = build.convolution(pooled, depth, random)
        count = side * side * ANCHORS
        encoded, _ = build.convolution(given, ANCHORS * 4, random)
        boxes.append(build.reshape(encoded, [1, count, 4]))
        logits, own = build.convolution(given, ANCHORS * columns, random, weights)
        weights = own if shared else None
        scores.append(build.reshape(logits, [1, count, columns], minus=1 if number else None))
    total = sum(side * side * ANCHORS for side in MAPS)
    encodings = build.concat(boxes, [1, total, 4])
    logits = build.concat(scores, [1, total, columns])
    zero = -128 if kind == "int8" else 0
    converted = build.activation([1, total, columns], 1 / 256, zero)
    build.operator("LOGISTIC", [logits], [converted])
    build.graph.inputs = np.int32([image])
    build.graph.outputs = np.int32([encodings, converted])
    if operator:
        _post_process(build, encodings, converted, total, classes, random, options)
    return build.bytes()


def _post_process(build, encodings, scores, total, classes, random, options):
    anchors = np.concatenate(
        [random.uniform(0.2, 0.8, (total, 2)), random.uniform(0.1, 0.2, (total, 2))], axis=1
    )
    kind = build.kind
    if kind == "int8":  # the operator takes floats
        pair = []
        for each in (encodings, scores):
            pair.append(build.tensor(build.graph.tensors[each].shape, dtype="f4"))
            build.operator("DEQUANTIZE", [each], [pair[-1]], schema.DequantizeOptionsT())
        encodings, scores = pair
    if kind == "uint8":
        place = build.tensor(anchors.shape, np.round(anchors * 250), scale=1 / 250)
    else:
        place = build.tensor(anchors.shape, anchors, "f4")
    most = options.pop("max_detections", 40)
    shapes = ([1, most, 4], [1, most], [1, most], [1])
    outputs = [build.tensor(shape, dtype="f4") for shape in shapes]
    settings = {
        "num_classes": classes,
        "max_detections": most,
        "max_classes_per_detection": 1,
        "detections_per_class": most,
        "use_regular_nms": True,
        "nms_score_threshold": 0.3,
        "nms_iou_threshold": 0.6,
        "y_scale": 10.0,
        "x_scale": 10.0,
        "h_scale": 5.0,
        "w_scale": 5.0,
    }
    settings.update(options)
    build.operator(OPERATOR, [encodings, scores, place], outputs, custom=settings)
    build.graph.outputs = np.int32(outputs)


def run(data, pixels):
    """The outputs of a .tflite file in TensorFlow's interpreter."""
    from todus.tf import tf

    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def noise(data, seed=0):
    """Random pixels for a file."""
    from todus.tf import tf

    interpreter = tf.lite.Interpreter(model_content=data)
    given = interpreter.get_input_details()[0]
    random = np.random.RandomState(seed)
    if given["dtype"] == np.float32:
        return random.uniform(-8, 8, given["shape"]).astype(np.float32)
    limits = np.iinfo(given["dtype"])
    return random.randint(limits.min, limits.max + 1, given["shape"]).astype(given["dtype"])
