"""Runs one model in LiteRT, ONNX Runtime or OpenVINO, for todus.detection.worker_process.

  .runtimes/bin/python -I worker.py REQUESTS ANSWERS

The arguments are the numbers of two pipes. A message is the length of its header in eight bytes,
the header in JSON, and the bytes of the arrays that header["arrays"] lists as [dtype, shape]. The
first request is {"runtime", "path", "threads"}; its answer describes the model. Every other request
has the arrays of the inputs; its answer has those of the outputs and {"processor"}, the seconds of
processor that the worker has used, or {"error"}. What a runtime prints to stdout goes to stderr.
The worker ends when its requests do, thus also with the process that sends them. It imports the
standard library, NumPy and the runtime, and nothing of Todus.
"""

import contextlib
import json
import os
import signal
import struct
import sys
import time

import numpy as np


def send(write, header, arrays=()):
    """Writes a message with write(bytes).

    Args:
      write: writes all bytes.
      header: for JSON.
      arrays: NumPy arrays of numbers or truth values.
    """
    arrays = [np.ascontiguousarray(array) for array in arrays]
    listed = [[array.dtype.str, list(array.shape)] for array in arrays]
    text = json.dumps(dict(header, arrays=listed)).encode("ascii")
    write(struct.pack(">Q", len(text)) + text)
    for array in arrays:
        write(array.tobytes())


def receive(read):
    """(header, arrays) of the next message.

    Args:
      read: read(N) returns N bytes; it raises EOFError at the end of the pipe.
    """
    header = json.loads(read(struct.unpack(">Q", read(8))[0]).decode("ascii"))
    arrays = []
    for dtype, shape in header["arrays"]:
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(read(size), dtype).reshape(shape))
    return header, arrays


def tensor(name, shape, dtype, quantization=(0.0, 0)):
    """The description of an input or output; a free dimension of `shape` is None."""
    sides = [side if isinstance(side, int) else None for side in shape]
    scale, zero_point = quantization
    return {
        "name": name,
        "shape": sides,
        "dtype": np.dtype(dtype).str,
        "quantization": [float(scale), int(zero_point)],
    }


def open_litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(arrays):
        for detail, array in zip(inputs, arrays):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in outputs]

    def described(details):
        return [
            tensor(each["name"], each["shape"].tolist(), each["dtype"], each["quantization"])
            for each in details
        ]

    return described(inputs), described(outputs), run


def open_onnxruntime(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    names = [each.name for each in session.get_inputs()]
    types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}

    def described(nodes):
        return [
            tensor(each.name, each.shape, types.get(each.type, each.type[7:-1])) for each in nodes
        ]

    def run(arrays):
        return session.run(None, dict(zip(names, arrays)))

    return described(session.get_inputs()), described(session.get_outputs()), run


def open_openvino(path, threads):
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    request = compiled.create_infer_request()

    def described(ports):
        return [
            tensor(
                port.get_any_name(),
                [None if side.is_dynamic else side.get_length() for side in port.partial_shape],
                port.element_type.to_dtype(),
            )
            for port in ports
        ]

    def run(arrays):
        found = request.infer(list(arrays))
        return [found[port] for port in compiled.outputs]

    return described(compiled.inputs), described(compiled.outputs), run


OPENERS = {
    "litert": ("ai_edge_litert", open_litert),
    "onnxruntime": ("onnxruntime", open_onnxruntime),
    "openvino": ("openvino", open_openvino),
}


def version_of(package):
    """The version of an imported package, without the build that OpenVINO adds."""
    found = getattr(sys.modules[package], "__version__", "")
    return str(found).split("-")[0]


def serve(read, write):
    """Answers requests until they end."""
    request, _ = receive(read)
    package, opener = OPENERS[request["runtime"]]
    try:
        inputs, outputs, run = opener(request["path"], request["threads"])
    except Exception as error:  # each runtime has exceptions of its own
        send(write, {"error": str(error) or type(error).__name__})
        return
    send(write, {"inputs": inputs, "outputs": outputs, "version": version_of(package)})
    while True:
        _, arrays = receive(read)
        try:
            found = run(arrays)
        except Exception as error:
            send(write, {"error": str(error) or type(error).__name__})
        else:
            send(write, {"processor": time.process_time()}, found)


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that sends the requests ends it
    requests, answers = (int(number) for number in sys.argv[1:])
    os.dup2(2, 1)
    with os.fdopen(requests, "rb") as source, os.fdopen(answers, "wb") as target:

        def read(size):
            data = source.read(size)
            if len(data) < size:
                raise EOFError
            return data

        def write(data):
            target.write(data)
            target.flush()

        with contextlib.suppress(EOFError, BrokenPipeError):
            serve(read, write)


if __name__ == "__main__":
    main()
