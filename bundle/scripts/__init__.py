"""What the JSON configs of the bundle name: networks, losses, engines, data and, in `evaluation`, figures."""
