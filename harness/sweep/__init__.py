"""Sweeps of λ × seeds: plan, runs, analysis; predictions locked before the first run."""
