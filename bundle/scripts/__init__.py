"""What the JSON configs of the bundle name; `evaluation` holds all that gives figures."""
