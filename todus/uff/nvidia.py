"""Conversion by NVIDIA's own uff package, from a TensorRT download, where it is installed."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Optional, Tuple

from todus.tf import tf

from todus.uff import schema_pb2
from todus.uff.graphs import reason


def meta_graph(graph_def: "tf.GraphDef", output: str) -> Tuple[Optional[schema_pb2.MetaGraph], str]:
    """A graph converted by NVIDIA's package.

    Returns:
      The UFF graph and the package's name and version; or None and why the package was not used.
    """
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        try:
            import uff
        except ImportError as error:
            return None, "NVIDIA's uff is not importable (%s)" % error
        path = Path(folder) / "graph.uff"
        try:
            uff.from_tensorflow(
                graph_def,
                output_nodes=[output],
                output_filename=str(path),
                quiet=True,
                text=False,
            )
            version = getattr(uff, "__version__", "(unknown version)")
            return schema_pb2.MetaGraph.FromString(path.read_bytes()), "uff %s" % version
        # The package documents no errors; after any of them Todus's own writer writes the file.
        except Exception as error:
            version = getattr(uff, "__version__", "")
            return None, "NVIDIA's uff %s failed (%s)" % (version, reason(error))
