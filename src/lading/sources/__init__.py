"""Where rows come from: one file per adapter of `lading.ports.Source`."""
