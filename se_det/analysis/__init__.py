"""What a model costs, what its gates do, and the report page of a run."""
