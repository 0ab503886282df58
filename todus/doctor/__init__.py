"""Whether this machine, this Python and what lies under TODUS_HOME are fit to work, a finding at a time."""
