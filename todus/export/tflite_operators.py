"""The operators and tensors of a .tflite file, and which of them an EdgeTPU compiler maps."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from todus import files
from todus.errors import TodusError
from todus.slicing import post_process

# The operators of https://coral.ai/docs/edgetpu/models-intro/#supported-operations.
_EDGETPU_NAMES = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH
    TRANSPOSE TRANSPOSE_CONV
"""
EDGETPU = frozenset(_EDGETPU_NAMES.split())


class Operator(NamedTuple):
    """One operator of the graph.

    Attributes:
      name: such as CONV_2D, or a custom operator's own name.
      types: of its computed inputs and its outputs: UINT8, INT8, FLOAT32 ...
      left_out: why an EdgeTPU compiler leaves it on the CPU; empty where it is mapped.
    """

    name: str
    types: List[str]
    left_out: str


class Report(NamedTuple):
    """The operators of a file, the number of its tensors, and that of each type of tensor."""

    operators: List[Operator]
    tensors: int
    types: Dict[str, int]

    def as_dict(self) -> Dict:
        """The report as FILE.json has it."""
        left = [(each.name, each.left_out) for each in self.operators if each.left_out]
        reasons = sorted(Counter(left).items())
        return {
            "operators": dict(Counter(operator.name for operator in self.operators)),
            "tensors": self.tensors,
            "tensor_types": self.types,
            "edgetpu": {
                "mapped": len(self.operators) - len(left),
                "cpu": len(left),
                "left_on_cpu": [
                    {"operator": name, "count": count, "reason": why}
                    for (name, why), count in reasons
                ],
            },
        }


def model_of(data: bytes):
    """The flatbuffer as tflite-support's object tree (ModelT of TensorFlow's schema.fbs)."""
    from tflite_support import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))


def report(data: bytes) -> Report:
    """The operators and tensors of a .tflite file.

    An EdgeTPU compiler maps the operators that it has and whose tensors are 8-bit, from the input
    to the first other operator; what follows that one stays on the CPU. The QUANTIZE of a float
    input stays there too, but the operators after it are mapped.
    """
    from tflite_support import schema_py_generated as schema

    model = model_of(data)
    graph, codes, types = model.subgraphs[0], _names(model), _constants_of(schema.TensorType)
    produced, on_cpu, operators = set(), set(), []
    for operator in graph.operators:
        inputs = [index for index in operator.inputs if index in produced or index in graph.inputs]
        kinds = [types[graph.tensors[index].type] for index in inputs + list(operator.outputs)]
        name = codes[operator.opcodeIndex]
        why = _left_out(name, kinds, bool(on_cpu.intersection(inputs)))
        if post_process.is_added(graph, operator):
            why = "reports every class, whatever number of threads there is"
        if why and not (name == "QUANTIZE" and set(inputs) & set(graph.inputs)):
            on_cpu.update(operator.outputs)
        produced.update(operator.outputs)
        operators.append(Operator(name, sorted(set(kinds)), why))
    counted = Counter(types[tensor.type] for tensor in graph.tensors)
    return Report(operators, len(graph.tensors), dict(counted))


def _left_out(name: str, kinds: List[str], after_cpu: bool) -> str:
    if name not in EDGETPU:
        return "not an operator of the EdgeTPU"
    if any(kind not in ("UINT8", "INT8", "INT32") for kind in kinds):
        return "computes in %s" % ", ".join(sorted(set(kinds) - {"UINT8", "INT8", "INT32"}))
    return "follows one that is left on the CPU" if after_cpu else ""


def _names(model) -> List[str]:
    from tflite_support import schema_py_generated as schema

    builtin = _constants_of(schema.BuiltinOperator)
    names = []
    for code in model.operatorCodes:
        number = max(code.builtinCode, getattr(code, "deprecatedBuiltinCode", 0) or 0)
        custom = code.customCode.decode() if isinstance(code.customCode, bytes) else code.customCode
        names.append(custom if custom else builtin.get(number, str(number)))
    return names


def _constants_of(enumeration) -> Dict[int, str]:
    return {value: key for key, value in vars(enumeration).items() if isinstance(value, int)}


def compile_for_edgetpu(path: Path) -> Optional[Dict]:
    """Runs edgetpu_compiler on an 8-bit .tflite file, which writes NAME_edgetpu.tflite beside it.

    Returns:
      {"file", "mapped", "cpu", "operators": [{"operator", "count", "status"}]}, from its log; None
      where the compiler is not installed.

    Raises:
      TodusError: the compiler fails.
    """
    program = shutil.which("edgetpu_compiler")
    if not program:
        return None
    with files.scratch(path) as folder:
        command = [program, "-s", "-o", str(folder), str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        compiled = sorted(folder.glob("*_edgetpu.tflite"))
        if done.returncode or not compiled:
            lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
            what = "edgetpu_compiler refused %s (%s); the file itself runs on a CPU"
            raise TodusError(what % (path, lines[-1][:200]))
        target = path.with_name(path.stem + "_edgetpu.tflite")
        with files.replacing(target) as part:
            part.write_bytes(compiled[0].read_bytes())
    return dict(read_compiler_log(done.stdout), file=target.name)


def read_compiler_log(text: str) -> Dict:
    """The output of edgetpu_compiler -s.

    Returns:
      {"mapped", "cpu", "operators": [{"operator", "count", "status"}]}; the numbers of operators
      are None where they are not in the output.
    """
    counts = {}
    for key, where in (("mapped", "Edge TPU"), ("cpu", "CPU")):
        match = re.search(r"Number of operations that will run on %s: (\d+)" % where, text)
        counts[key] = int(match.group(1)) if match else None
    row = r"(?m)^\s*([A-Za-z][A-Za-z0-9_]*)[ \t]+(\d+)[ \t]+(\S.*?)\s*$"
    table = [
        {"operator": name, "count": int(count), "status": status}
        for name, count, status in re.findall(row, text)
    ]
    if counts["mapped"] is None and table:
        counts["mapped"] = sum(row["count"] for row in table if row["status"].startswith("Mapped"))
        counts["cpu"] = sum(row["count"] for row in table) - counts["mapped"]
    return dict(counts, operators=table)
