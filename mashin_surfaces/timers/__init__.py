"""Due work in the database, claimed by lease: once per cluster, taken over when its holder dies."""
