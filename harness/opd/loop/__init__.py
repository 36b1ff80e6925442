"""The loop of on-policy distillation: objective, update, guard, log, and the run's folder."""
