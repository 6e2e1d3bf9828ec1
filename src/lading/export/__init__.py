"""Export definitions, intervals, schedules, and layouts: names and paths."""
