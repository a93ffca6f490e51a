"""What it costs, as ratios to something simple that runs beside it in the same minute."""
