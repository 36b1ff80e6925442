"""Rollouts of a round: drawn, packed, scored under every policy, ready for updates."""
