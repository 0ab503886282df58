"""Classes added to a slice: their class columns are trained on features of the frozen network."""
