"""The Estimator run: save, resume, stop, keep the best, cluster."""
