"""One change at a time: trainings of a plan, and the table that compares them."""
