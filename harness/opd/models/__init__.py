"""Models that are trained or read: loaded, saved, moved, their logprobs taken."""
