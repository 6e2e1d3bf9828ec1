"""One reading feeds many files: batches -> (tenant, partition) -> writers, within a budget of memory."""
