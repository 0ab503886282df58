"""The operators that a TensorFlow graph from a file may have.

A graph is a program: ReadFile, WriteFile or PrintV2 in it opens any file of the user. TensorFlow
runs parts of a graph as soon as it is imported, to infer shapes, so a graph is checked before that.
Messages are GraphDefs of TensorFlow; this module does not import it.
"""

import shlex
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from todus import files, variables
from todus.errors import TodusError
from todus.text import one_line

# Operators without effect outside the graph: those of the OD API's models, with their neighbours.
# Left out are files, tables from files, printing, Python functions, datasets, queues, processes on
# other machines, and ImmutableConst, which maps a file into memory.
_ALLOWED = """
Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh
Atan Atan2 Atanh BatchMatMul BatchMatMulV2 Bincount Bucketize Cast Ceil ClipByValue Cos Cosh
Cross Cumprod Cumsum Div DivNoNan Einsum Equal Erf Erfc EuclideanNorm Exp Expm1 Floor FloorDiv
FloorMod Greater GreaterEqual Inv IsFinite IsInf IsNan Less LessEqual LinSpace Log Log1p
LogicalAnd LogicalNot LogicalOr MatMul Max Maximum Mean Min Minimum Mod Mul MulNoNan Neg
NotEqual Pow Prod Range RealDiv Reciprocal Rint Round Rsqrt SegmentMax SegmentMean SegmentMin
SegmentProd SegmentSum Select SelectV2 Sigmoid Sign Sin Sinh Sqrt Square SquaredDifference Sub
Sum Tan Tanh TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
UnsortedSegmentSum Xdivy Xlogy

_FusedBatchNormEx _FusedConv2D _FusedMatMul AvgPool AvgPool3D BatchNormWithGlobalNormalization
BiasAdd BiasAddV1 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 DepthwiseConv2dNative
DepthwiseConv2dNativeBackpropInput Dilation2D Elu FusedBatchNorm FusedBatchNormV2
FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D InTopK InTopKV2 L2Loss L2Normalize
LeakyRelu LogSoftmax LRN MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NthElement Relu Relu6
Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign SparseSoftmaxCrossEntropyWithLogits
TopK TopKV2

AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression
CropAndResize DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeRaw
DrawBoundingBoxes DrawBoundingBoxesV2 EncodeJpeg EncodePng ExtractGlimpse ExtractJpegShape
HSVToRGB NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps ParseExample ParseExampleV2 ParseSingleExample
ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor RGBToHSV ScaleAndTranslate
TFLite_Detection_PostProcess

BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo CheckNumerics Concat ConcatOffset
ConcatV2 ConjugateTranspose Const DeepCopy DepthToSpace Dequantize Diag DiagPart Empty
EnsureShape ExpandDims ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
FakeQuantWithMinMaxVarsPerChannel Fill Gather GatherNd GatherV2 GuaranteeConst Identity
IdentityN InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiag MatrixDiagPart
MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot
OnesLike Pack Pad PadV2 ParallelConcat Placeholder PlaceholderV2 PlaceholderWithDefault
PreventGradient QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeV2
Rank Reshape ResourceGather Reverse ReverseSequence ReverseV2 ScatterNd Shape ShapeN Size Slice
Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth SparseReorder SparseReshape
SparseTensorDenseMatMul SparseToDense Split SplitV Squeeze StopGradient StridedSlice
TensorScatterAdd TensorScatterUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts Unpack
UnravelIndex UpperBound Where ZerosLike

AsString DecodeBase64 EncodeBase64 RegexReplace StaticRegexReplace StringJoin StringLength
StringSplit StringSplitV2 StringStrip StringToNumber Substr

RandomCrop RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt
SampleDistortedBoundingBoxV2 StatelessRandomNormal StatelessRandomUniform TruncatedNormal

Assert ControlTrigger Enter Exit If LoopCond Merge NextIteration NoOp PartitionedCall RefEnter
RefExit RefIdentity RefMerge RefNextIteration RefSelect RefSwitch StatefulPartitionedCall
StatelessIf StatelessWhile Switch While

EmptyTensorList TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3
TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3
TensorListConcat TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
TensorListSetItem TensorListSplit TensorListStack

Assign AssignAdd AssignSub AssignVariableOp IsVariableInitialized ReadVariableOp VarHandleOp
Variable VariableShape VariableV2 VarIsInitializedOp
"""
ALLOWED = frozenset(_ALLOWED.split())
_RESTORE = "RestoreV2"
_MOST_NAMED = 12


def needed(definition: Any, ends: Iterable[str]) -> Any:
    """A graph with only the nodes and functions that `ends` need, and with no others.

    Args:
      definition: a GraphDef.
      ends: names of nodes, or edges ("name:0"); those that are not in the graph are left out.
    """
    by_name = {node.name: node for node in definition.node}
    reached: Dict[str, None] = {}
    stack = [_node_of(end) for end in ends]
    while stack:
        name = stack.pop()
        if name in by_name and name not in reached:
            reached[name] = None
            stack += [_node_of(edge) for edge in by_name[name].input]
    result = type(definition)(versions=definition.versions)
    result.node.extend(node for node in definition.node if node.name in reached)
    for node in result.node:
        # Else TensorFlow refuses the name of a node that is not there.
        places = node.attr["_class"].list.s if "_class" in node.attr else ()
        if any(place[5:].decode("utf-8", "replace") not in reached for place in places):
            del node.attr["_class"]
    _, called = _called(result.node, definition.library.function)
    result.library.function.extend(called)
    return result


def check(definition: Any, path: files.PathLike, restores: str = "") -> None:
    """Raises TodusError where a graph has an operator that is neither ALLOWED nor in ALLOW_OPS.

    Args:
      definition: a GraphDef; of its functions, those that it calls are checked.
      path: of the file, for the message.
      restores: the node that names the checkpoint to read, which the caller feeds: RestoreV2 is
        allowed with this name; "": it is not.
    """
    functions = definition.library.function
    bodies = {function.signature.name for function in functions}
    may = allowed()
    nodes, _ = _called(definition.node, functions)
    found: Dict[str, str] = {}
    for node in nodes:
        # TensorFlow refuses a function with the name of one of its operators.
        if node.op not in may and node.op not in bodies:
            is_restore = node.op == _RESTORE and restores and node.input
            if not is_restore or _node_of(node.input[0]) != restores:
                found.setdefault(node.op, node.name)
    if found:
        raise refusal(str(path), found, list(found.values()))


def refusal(what: str, names: Iterable[str], where: Sequence[str] = ()) -> TodusError:
    """The error for a file with these operators; `where` names a node of each."""
    names = list(names)[:_MOST_NAMED]
    listed = [name + " (node %s)" % node for name, node in zip(names, where)] or names
    remedy = "; if you trust this file, allow them: export ALLOW_OPS=%s"
    given = shlex.quote(one_line(" ".join(sorted(_of_ones_own()) + names)))
    text = "%s has operators that may read or write files, or that Todus does not know: %s"
    return TodusError(text % (what, one_line(", ".join(listed))) + remedy % given)


def allowed() -> Set[str]:
    """ALLOWED, and the operators in ALLOW_OPS."""
    return ALLOWED | _of_ones_own()


def _of_ones_own() -> Set[str]:
    """The operators in ALLOW_OPS."""
    return set((variables.value("ALLOW_OPS", "eval") or "").replace(",", " ").split())


def _node_of(edge: str) -> str:
    """The name of the node of an edge: "name", "name:1" or "^name"."""
    return edge.lstrip("^").split(":")[0]


def _called(nodes: Iterable[Any], functions: Iterable[Any]) -> Tuple[List[Any], List[Any]]:
    """All nodes that run when `nodes` do, and the functions that these call."""
    by_name = {function.signature.name: function for function in functions}
    todo, called, found = list(nodes), {}, []
    while todo:
        node = todo.pop()
        found.append(node)
        names = [node.op]
        for value in node.attr.values():
            names += _functions_in(value)
        for name in names:
            if name in by_name and name not in called:
                called[name] = by_name[name]
                todo += by_name[name].node_def
    return found, list(called.values())


def _functions_in(value: Any) -> Iterator[str]:
    """The functions that an attribute of a node names."""
    stack = [value.func] if value.HasField("func") else list(value.list.func)
    while stack:
        function = stack.pop()
        yield function.name
        for each in function.attr.values():
            stack += [each.func] if each.HasField("func") else each.list.func
