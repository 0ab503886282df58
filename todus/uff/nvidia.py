"""NVIDIA's own uff package, from a TensorRT download, where it is importable."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Optional, Tuple

from todus.tf import tf

from todus.uff import schema_pb2, writer


def meta_graph(graph_def: "tf.GraphDef", output: str) -> Tuple[Optional[schema_pb2.MetaGraph], str]:
    """What NVIDIA's converter makes of a graph.

    Returns:
      The UFF graph and the converter's name and version; or None and why NVIDIA's package was not used.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import uff
    except ImportError as error:
        return None, "NVIDIA's uff is not importable (%s)" % error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.uff"
        talk = io.StringIO()
        try:
            with contextlib.redirect_stdout(talk):
                uff.from_tensorflow(
                    graph_def,
                    output_nodes=[output],
                    output_filename=str(path),
                    quiet=True,
                    text=False,
                )
            content = path.read_bytes()
            return writer.from_bytes(content), "uff %s" % getattr(
                uff, "__version__", "(unknown version)"
            )
        except (
            Exception
        ) as error:  # a closed package: whatever it raises, Todus's own writer does the work
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return None, "NVIDIA's uff %s failed (%s)" % (getattr(uff, "__version__", ""), reason)
