"""The pages that people look at: the report of an evaluation, and several side by side."""
