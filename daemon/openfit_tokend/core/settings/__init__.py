"""Settings and profiles: parsed and validated values."""
