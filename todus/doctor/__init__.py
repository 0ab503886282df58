"""Checks of this machine, its Python and what lies under TODUS_HOME."""
